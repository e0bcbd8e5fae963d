"""Questions to a peer, and their answers, over two connections: one carries each way.

An answer may be lost with its connection, so a question without one has an unknown outcome, and
must be safe to ask again. Whoever asks sets the deadline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeAlias

import msgspec
import trio
from msgspec import Meta

from chronosdb.node.peers.chance import Chance
from chronosdb.node.peers.frames import BadFrame, Channel
from chronosdb.node.peers.peers import Peers
from chronosdb.node.reply import Reply

#: Questions of one peer that are being answered at one time.
_UNANSWERED_MAX: Final = 512

_Number: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class CallFailed(Exception):
    """No answer: the peer may or may not have done what it was asked."""


class _Question(msgspec.Struct, frozen=True, array_like=True, tag=0):
    number: _Number
    method: str
    body: bytes


class _Answer(msgspec.Struct, frozen=True, array_like=True, tag=1):
    number: _Number
    ok: bool
    body: bytes


Method: TypeAlias = Callable[[str, bytes], Awaitable[bytes]]
_DECODER: msgspec.msgpack.Decoder[_Question | _Answer] = msgspec.msgpack.Decoder(
    _Question | _Answer
)


class Calls:
    """Asks peers, and answers them."""

    def __init__(self, peers: Peers, random: Chance) -> None:
        self._peers = peers
        self._methods: dict[str, Method] = {}
        # Answers to an earlier life of this node must not look like answers to this one.
        self._last = random.getrandbits(62)
        #: By number: who was asked, and where its answer goes; None if it will not answer.
        self._waiting: dict[int, tuple[str, Reply[_Answer | None]]] = {}
        #: How many questions of each peer are being answered.
        self._answering: dict[str, int] = {}
        self._nursery: trio.Nursery | None = None
        peers.handle(Channel.CALLS, self._receive)
        peers.watch(lambda _: None, self._lost)
        # An answer may have been lost with the connection that was, or for want of one.
        peers.watch_hearing(self._lost)

    def serve(self, name: str, method: Method) -> None:
        """Answer questions of this name with what `method(peer, body)` returns."""
        self._methods[name] = method

    async def ask(self, peer: str, method: str, body: bytes) -> bytes:
        """What a peer's method returned.

        Raises:
            CallFailed: the peer cannot be reached, or did not answer before a connection was lost.
        """
        self._last += 1
        number, reply = self._last, Reply[_Answer | None]()
        question = msgspec.msgpack.encode(_Question(number, method, body))
        if not self._peers.send(peer, Channel.CALLS, question):
            raise CallFailed(f"peer {peer} cannot be reached")
        self._waiting[number] = (peer, reply)
        try:
            answer = await reply.get()
        finally:
            self._waiting.pop(number, None)
        if answer is None or not answer.ok:
            raise CallFailed(f"peer {peer} did not answer")
        return answer.body

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer questions, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def _receive(self, peer: str, body: bytes) -> None:
        try:
            message = _DECODER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadFrame(f"no question and no answer: {error}") from None
        if isinstance(message, _Question):
            self._accept(peer, message)
        else:
            self._settle(peer, message)

    def _accept(self, peer: str, question: _Question) -> None:
        busy = self._answering.get(peer, 0)
        known = question.method in self._methods
        if self._nursery is None or busy >= _UNANSWERED_MAX or not known:
            self._send(peer, _Answer(question.number, ok=False, body=b""))
            return
        self._answering[peer] = busy + 1
        self._nursery.start_soon(self._answer, peer, question)

    async def _answer(self, peer: str, question: _Question) -> None:
        try:
            body = await self._methods[question.method](peer, question.body)
        finally:
            self._answering[peer] -= 1
        self._send(peer, _Answer(question.number, ok=True, body=body))

    def _send(self, peer: str, answer: _Answer) -> None:
        self._peers.send(peer, Channel.CALLS, msgspec.msgpack.encode(answer))

    def _settle(self, peer: str, answer: _Answer) -> None:
        asked, reply = self._waiting.get(answer.number, ("", None))
        if reply is not None and asked == peer:
            del self._waiting[answer.number]
            reply.set(answer)

    def _lost(self, peer: str) -> None:
        """Whoever waits for what was lost on the way, there or back, need not wait for the deadline."""
        for number in [n for n, (asked, _) in self._waiting.items() if asked == peer]:
            _, reply = self._waiting.pop(number)
            reply.set(None)

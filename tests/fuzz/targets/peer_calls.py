"""What peers say once they are introduced: calls and what they carry, Raft messages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from random import Random
from typing import Any, Final, cast, get_args

import msgpack
import msgspec

from chronosdb.node.controller import messages as h
from chronosdb.node.fanout import messages as f
from chronosdb.node.peers import forwarding
from chronosdb.node.peers.calls import Calls
from chronosdb.node.peers.frames import BadFrame, Channel
from chronosdb.node.peers.peers import Peers
from chronosdb.node.peers.raft_channel import RaftChannel
from chronosdb.node.replication import messages as r
from chronosdb.raft import Message, Result, Status
from chronosdb.raft.messages import check
from tests.fuzz.samples import FROM_CLIENT, FROM_SERVER
from tests.fuzz.target import Feature, Target, complaint
from tests.fuzz.targets.metadata import raft_messages
from tests.fuzz.targets.wire import mend_message

#: Nested lists and maps, and lengths that nobody sends.
DEEP: Final = (b"\x91" * 40, b"\x81\xa1a" * 40, b"\xdd\xff\xff\xff\xff", b"\xc6\x7f\xff\xff\xff")


def _mend_call(data: bytes, random: Random) -> bytes:
    """Another value in the call, or in the outcome that it carries."""
    try:
        kind, number, ok, body = msgpack.unpackb(data)
        if random.random() < 0.5 and kind == 1:
            return msgpack.packb([1, number, ok, mend_message(body, random)])
    except (ValueError, TypeError):
        return data
    return mend_message(data, random)


class _Line:
    """Stands for all peers: keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.handlers: dict[int, Callable[[str, bytes], None]] = {}

    def handle(self, channel: int, handler: Callable[[str, bytes], None]) -> None:
        self.handlers[channel] = handler

    def watch(self, *_: object) -> None:
        pass

    def watch_hearing(self, *_: object) -> None:
        pass

    def send(self, _peer: str, _channel: int, body: bytes) -> bool:
        self.sent.append(body)
        return True

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        """Stands for a nursery: what is asked here is answered without a wait."""
        try:
            function(*args).send(None)
        except StopIteration:
            return
        raise AssertionError("an answer that waits for something")


async def _echo(_peer: str, body: bytes) -> bytes:
    return body


def _call(data: bytes) -> Feature:
    """A question has one answer, with its number; an answer nobody waits for changes nothing."""
    line = _Line()
    calls = Calls(cast("Peers", line), Random(1))
    calls.serve("echo", _echo)
    calls._nursery = cast("Any", line)
    try:
        line.handlers[Channel.CALLS]("n1", data)
    except BadFrame as error:
        return complaint(error)
    assert calls._waiting == {}
    if not line.sent:
        return "answer", _outcome(data)
    (answer,) = line.sent
    asked, told = msgpack.unpackb(data), msgpack.unpackb(answer)
    assert told == [1, asked[1], asked[2] == "echo", asked[3] if asked[2] == "echo" else b""]
    return "question", asked[2] == "echo"


def _outcome(data: bytes) -> Feature:
    """What the outcome of a forwarded command reads like, if this is one."""
    outcome, index = forwarding.unpack(msgpack.unpackb(data)[3])
    if isinstance(outcome, Result):
        assert forwarding.unpack(forwarding.pack(outcome, index)) == (outcome, index)
    return type(outcome).__name__


def _call_seeds() -> Iterator[bytes]:
    numbers = count(1)
    for method in ("echo", "submit", "no such method"):
        yield msgpack.packb([0, next(numbers), method, b"body"])
    for outcome in (Result(Status.OK, "made", created=True, id=7), RuntimeError("unknown")):
        body = forwarding.pack(cast("Any", outcome), 7)
        yield msgpack.packb([1, next(numbers), True, body])
    yield msgpack.packb([1, next(numbers), False, b""])
    yield msgpack.packb([1, next(numbers), True, b"\x94" + b"\x91" * 1500])


def _raft(data: bytes) -> Feature:
    """A Raft message as the channel takes it and the replica checks it: whole and well typed, or bad."""
    line, heard = _Line(), list[Message]()

    def deliver(_peer: str, message: Message) -> None:
        check(message)
        heard.append(message)

    RaftChannel(cast("Peers", line), deliver)
    try:
        line.handlers[Channel.RAFT]("n1", data)
    except BadFrame as error:
        # What follows quotes the message.
        return str(error)[:34]
    return str(heard[0]["type"])


#: Bodies of calls about copies: an input's first byte says which is expected.
_BODIES: tuple[msgspec.Struct, ...] = (
    r.Begin([r.BeginItem(1, 0, 7)]),
    r.Begun([r.BeginAnswer(r.Status.OK, 7, 1, 4096, 8192, [(6, 4096), (7, 8000)])]),
    r.Append([r.AppendItem(1, 0, 7, 1, 8192, 8000, 4096, None, True, b"raw")]),
    r.Append(
        [r.AppendItem(1, 0, 7, 1, 9, 9, 9, r.PlainPoint(9, 1, 1, 1_900_000_000_000), False, b"")]
    ),
    r.Appended([r.AppendAnswer(r.Status.STALE, 8), r.AppendAnswer(r.Status.OK, 7, 8192)]),
    r.Fence([(1, 0, 8), (1, 1, 3)]),
    r.Fenced([(1, 0, 7, 8192)]),
    r.Handover(1, 0, 7, "n2"),
    h.Heartbeat(3, "n1", h.Reading(-5, 2), 40, False, [(1, 0, 7)]),
    h.Heartbeat(3, "", None, 0, True, []),
    h.Granted(1000, 1_900_000_000_000, ""),
)


def _body(data: bytes) -> Feature:
    """Refused by the one error that says so, or what it says can be said again."""
    kind = type(_BODIES[data[0] % len(_BODIES)]) if data else r.Fence
    try:
        message = r.decode(data[1:], kind)
    except r.BadMessage as error:
        return kind, complaint(error)
    said = r.encode(message)
    assert r.decode(said, kind) == message
    return kind


def _mend_body(data: bytes, random: Random) -> bytes:
    return data[:1] + mend_message(data[1:], random)


def _body_seeds() -> Iterator[bytes]:
    for number, body in enumerate(_BODIES):
        yield bytes([number]) + r.encode(body)


def _asked(data: bytes) -> Feature:
    """What one node asks another for a client, and what it answers: refused, or the same again."""
    decode = f.decode_answer if data[:1] == b"\1" else f.decode_question
    try:
        message = decode(data[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return type(error).__name__
    said = f.encode(message)
    assert f.encode(decode(said)) == said
    return type(getattr(message, "message", message)).__name__


def _asked_seeds() -> Iterator[bytes]:
    asked = set(get_args(f.Asked))
    answered = set(get_args(f.Answered))
    for one in FROM_CLIENT:
        if type(one) in asked:
            yield b"\0" + f.encode(f.Question(1000, cast("Any", one)))
    for reply in FROM_SERVER:
        if type(reply) in answered:
            yield b"\1" + f.encode(reply)
    for own in (f.ListGroupParts("orders"), f.ClaimGroup("orders", "billing", "t", 1000, True)):
        yield b"\0" + f.encode(f.Question(1000, own))
    yield b"\1" + f.encode(f.GroupParts([0, 1], [f.GroupPart("billing", ["a"], 5)]))


TARGETS = (
    Target("peer_calls", _call, _call_seeds, _mend_call, DEEP, memory_factor=128),
    Target("peer_raft", _raft, raft_messages, mend_message, (*DEEP, b"\x81\xa4type" * 300)),
    Target("replication_messages", _body, _body_seeds, _mend_body, DEEP, memory_factor=128),
    Target("messages_between_nodes", _asked, _asked_seeds, _mend_body, DEEP, largest=70_000),
)

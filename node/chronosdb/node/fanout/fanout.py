"""Asking other nodes for their part of what a client asked this one.

A question is one call to a peer; its answer, or the error, comes back as if the client had asked there.
A node that does not answer may or may not have done what it was asked: everything asked here is safe
to ask again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import msgspec
import trio

from chronosdb.node import faults
from chronosdb.node.fanout import messages as f
from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.node.peers.frames import FRAME_BYTES_MAX
from chronosdb.raft import ClusterView, NodeState
from chronosdb.wal import WalError
from chronosdb.wire import messages as m
from chronosdb.wire.errors import (
    ChronosError,
    InvalidArgument,
    Overloaded,
    ProtocolError,
    Timeout,
    error_from_wire,
)

logger = logging.getLogger(__name__)

#: How long a node has to answer, unless its asker says otherwise.
ANSWER_MS: Final = 3_000
#: What a call adds to its body.
_CALL_BYTES: Final = 4096

A = TypeVar("A", bound=m.Message)
Q = TypeVar("Q", bound=m.Message)
Handler = Callable[[str, Any], Awaitable[m.Message]]


class Fanout:
    """One node's questions to the others, and its answers to theirs."""

    def __init__(self, me: str, view: Callable[[], ClusterView], calls: Calls) -> None:
        self.me = me
        self._view = view
        self._calls = calls
        self._handlers: dict[type, Handler] = {}
        calls.serve("request", self._serve)

    def nodes(self) -> list[str]:
        """All nodes that may lead something, by name: those that are neither fenced nor gone."""
        may = {NodeState.ALIVE, NodeState.DRAINING}
        return sorted({name for name, node in self._view().nodes.items() if node.state in may})

    def stays(self, node: str) -> bool:
        """Whether a node has not been removed."""
        known = self._view().nodes.get(node)
        return known is None or not known.has_left

    def answer(self, kind: type[Q], handler: Callable[[str, Q], Awaitable[m.Message]]) -> None:
        """Answer questions of this kind with what `handler(who asks, message)` returns or raises."""
        assert kind not in self._handlers, kind
        self._handlers[kind] = handler

    async def ask(
        self, node: str, message: m.Message, answer: type[A], *, within_ms: int = ANSWER_MS
    ) -> A:
        """What `node` answers, which may be this one.

        Raises:
            ChronosError: that of the node.
            Timeout: it did not answer, or cannot be reached.
            InvalidArgument: the message is larger than what nodes send each other.
        """
        with trio.move_on_after(within_ms / 1000):
            if node == self.me:
                return _expected(node, answer, await self._answer(self.me, message))
            question = f.encode(f.Question(within_ms, cast("f.Asked", message)))
            _check_size(question)
            try:
                reply = f.decode_answer(await self._calls.ask(node, "request", question))
            except CallFailed as error:
                raise Timeout(f"{error}; try again") from None
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise ProtocolError(f"node {node} answered what is no answer: {error}") from None
            return _expected(node, answer, reply)
        raise Timeout(f"node {node} did not answer within {within_ms} ms; try again")

    async def everyone(
        self, message: m.Message, answer: type[A], *, within_ms: int = ANSWER_MS
    ) -> dict[str, A | ChronosError]:
        """What each of `nodes` answers, or why it does not; all are asked at once."""
        return await self.each(self.nodes(), message, answer, within_ms=within_ms)

    async def each(
        self, nodes: list[str], message: m.Message, answer: type[A], *, within_ms: int = ANSWER_MS
    ) -> dict[str, A | ChronosError]:
        """As `everyone`, of these nodes."""
        answers: dict[str, A | ChronosError] = {}

        async def ask(node: str) -> None:
            try:
                answers[node] = await self.ask(node, message, answer, within_ms=within_ms)
            except ChronosError as error:
                answers[node] = error

        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(ask, node)
        return dict(sorted(answers.items()))

    async def _answer(self, asker: str, message: m.Message) -> m.Message:
        handler = self._handlers.get(type(message))
        if handler is None:
            raise Overloaded(f"node {self.me} is starting; try again")
        try:
            return await handler(asker, message)
        except WalError as error:
            logger.warning("a request of node %s failed in the log: %s", asker, error)
            raise faults.of_log(error) from None

    async def _serve(self, peer: str, body: bytes) -> bytes:
        reply = f.encode(await self._reply(peer, body))
        try:
            _check_size(reply)
        except InvalidArgument as error:
            return f.encode(_failed(error))
        return reply

    async def _reply(self, peer: str, body: bytes) -> m.Message:
        try:
            question = f.decode_question(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _failed(ProtocolError(f"node {self.me} does not take this: {error}"))
        with trio.move_on_after(question.within_ms / 1000):
            try:
                reply = await self._answer(peer, question.message)
            except ChronosError as error:
                return _failed(error)
            return reply
        return _failed(Timeout(f"node {self.me} needed more than {question.within_ms} ms"))


def _check_size(body: bytes) -> None:
    if len(body) > FRAME_BYTES_MAX - _CALL_BYTES:
        raise InvalidArgument(f"{len(body)} bytes are more than nodes send each other")


def _expected(node: str, kind: type[A], reply: m.Message) -> A:
    match reply:
        case m.Failed():
            raise error_from_wire(
                reply.code, reply.message, retryable=reply.retryable, details=reply.details
            )
        case _ if isinstance(reply, kind):
            return reply
    raise ProtocolError(f"node {node} answered {type(reply).__name__}, not {kind.__name__}")


def _failed(error: ChronosError) -> m.Failed:
    return m.Failed(f.NO_REQUEST, error.code, error.message, error.retryable, error.details)

"""What other nodes say to this one: connections that they dialled.

Until it has proved who it is, a connection costs a task, a kilobyte and a few seconds at most, and
there are only so many: the oldest has to go when one more comes, for a peer needs no time to prove
itself. After that, frames go to the handler of their channel, in order, and from the newest
connection of each peer only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import trio

from chronosdb.node.peers.frames import BadFrame, Channel, FrameReader, Opener, Sealer, framed
from chronosdb.node.peers.handshake import Answering, Judge, Keys, Refused, Self
from chronosdb.node.peers.streams import nonce, read_frame

logger = logging.getLogger(__name__)

_HANDSHAKE_S: Final = 5.0
_STRANGERS_MAX: Final = 64
_READ_BYTES: Final = 256 * 1024
#: A peer pings every second; one that is silent for so long is gone.
_SILENCE_S: Final = 10.0

#: (peer, body): what to do with a frame. Raises BadFrame if it makes no sense.
Handler: TypeAlias = Callable[[str, bytes], None]
Listeners: TypeAlias = Sequence[trio.abc.Listener[trio.abc.HalfCloseableStream]]


@dataclass(frozen=True, slots=True)
class ListenerOwner:
    """What a listener needs of the node."""

    me: Self
    judge: Judge
    random_bytes: Callable[[int], bytes]
    #: The handler of each channel.
    handlers: dict[int, Handler]
    #: Is told of each peer that begins to speak on a new connection, before anything it says.
    on_heard: Callable[[str], None]


class Listener:
    """Accepts peers."""

    def __init__(self, owner: ListenerOwner) -> None:
        self._owner = owner
        #: Connections that have not proved who they are, oldest first.
        self._strangers: dict[trio.CancelScope, None] = {}
        #: The newest connection of each peer. Invariant: no other delivers.
        self._current: dict[str, trio.CancelScope] = {}

    @property
    def heard(self) -> list[str]:
        """The peers that are connected to this node."""
        return list(self._current)

    async def run(self, listeners: Listeners) -> None:
        """Accept connections, until cancelled."""
        await trio.serve_listeners(self._accept, list(listeners))

    def drop(self, peer: str) -> None:
        """End the connection of a peer that is not to be heard any more."""
        scope = self._current.pop(peer, None)
        if scope is not None:
            scope.cancel()

    async def _accept(self, stream: trio.abc.HalfCloseableStream) -> None:
        try:
            await self._welcome(stream)
        except (BadFrame, trio.BrokenResourceError, trio.TooSlowError) as error:
            logger.info("closed a peer's connection: %s", error or type(error).__name__)
        finally:
            await trio.aclose_forcefully(stream)

    async def _welcome(self, stream: trio.abc.Stream) -> None:
        reader = FrameReader()
        answering = Answering(self._owner.me, self._owner.judge, nonce(self._owner.random_bytes))
        keys = None
        try:
            with self._stranger(), trio.fail_after(_HANDSHAKE_S):
                keys = await _shake_hands(stream, reader, answering)
        except Refused as refused:
            logger.warning("refused peer %s: %s", answering.peer or "unknown", refused)
        if keys is not None:
            await self._hear(answering.peer, stream, reader, keys)

    @contextmanager
    def _stranger(self) -> Iterator[None]:
        """One more of those that nobody knows yet; ends early if it has to make room."""
        if len(self._strangers) >= _STRANGERS_MAX:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.cancel()
            logger.warning("closed a connection: %d others are not proven", _STRANGERS_MAX)
        with trio.CancelScope() as scope:
            self._strangers[scope] = None
            try:
                yield
            finally:
                self._strangers.pop(scope, None)

    async def _hear(
        self, peer: str, stream: trio.abc.Stream, reader: FrameReader, keys: Keys
    ) -> None:
        reader.trust()
        self.drop(peer)
        with trio.CancelScope() as scope:
            self._current[peer] = scope
            self._owner.on_heard(peer)
            try:
                await self._read(peer, stream, reader, keys)
            finally:
                if self._current.get(peer) is scope:
                    del self._current[peer]

    async def _read(
        self, peer: str, stream: trio.abc.Stream, reader: FrameReader, keys: Keys
    ) -> None:
        mine, opener, sealer = self._current[peer], Opener(keys.dialler), Sealer(keys.acceptor)
        # One deadline that is moved on: a scope for each frame would cost more than the frame.
        with trio.fail_after(_SILENCE_S) as patience:
            while True:
                # A cancelled task runs until its next checkpoint: it must not deliver until then.
                while (
                    self._current.get(peer) is mine and (frame := reader.next_frame()) is not None
                ):
                    channel, body = opener.open(frame)
                    if channel == Channel.PING:
                        patience.deadline = trio.current_time() + _SILENCE_S
                        await stream.send_all(sealer.seal(Channel.PING, b""))
                    elif channel in self._owner.handlers:
                        self._owner.handlers[channel](peer, body)
                    else:
                        raise BadFrame(f"channel {channel} is not known")
                patience.deadline = trio.current_time() + _SILENCE_S
                data = await stream.receive_some(_READ_BYTES)
                if not data:
                    return
                reader.receive(data)


async def _shake_hands(stream: trio.abc.Stream, reader: FrameReader, answering: Answering) -> Keys:
    """Raises Refused, after telling the dialler why."""
    try:
        challenge = answering.challenge(await read_frame(stream, reader))
        await stream.send_all(framed(challenge))
        verdict, keys = answering.conclude(await read_frame(stream, reader))
    except Refused as refused:
        await stream.send_all(framed(refused.answer))
        raise
    await stream.send_all(framed(verdict))
    return keys

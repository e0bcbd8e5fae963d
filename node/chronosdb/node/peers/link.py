"""What this node says to one peer: a connection that is dialled, and dialled again.

Each direction between two nodes has a connection of its own, and who dialled it sends. So both sides
may dial at any time, and which of two connections counts needs no agreement: the newest one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from chronosdb.node.environment import Network
from chronosdb.node.peers.frames import BadFrame, Channel, FrameReader, Opener, Sealer, framed
from chronosdb.node.peers.handshake import Dialling, Judge, Keys, Refused, Self
from chronosdb.node.peers.network import split_address
from chronosdb.node.peers.outbox import Outbox
from chronosdb.node.peers.streams import nonce, read_frame

logger = logging.getLogger(__name__)

_DIAL_S: Final = 3.0
_HANDSHAKE_S: Final = 3.0
#: How often the peer is asked for a sign of life, and how long it may keep us waiting for one. TCP
#: alone notices a host that is gone, or a network that is back, only after many seconds.
_PING_S: Final = 1.0
_SILENCE_S: Final = 3.5
_BACKOFF_MIN_S: Final = 0.05
_BACKOFF_MAX_S: Final = 1.0
#: A connection that held so long was a good one: dial again at once when it ends.
_GOOD_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class LinkOwner:
    """What a link needs of the node."""

    me: Self
    judge: Judge
    network: Network
    random: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    on_up: Callable[[str], None]
    on_down: Callable[[str], None]
    on_refused: Callable[[str, Refused], None]


class Link:
    """Sends to one peer while it can be reached."""

    def __init__(self, owner: LinkOwner, peer: str, address: str) -> None:
        self._owner = owner
        self._peer = peer
        self.address = address
        #: None while there is no connection: whatever is sent then is lost at once.
        self._outbox: Outbox | None = None
        self._problem = ""

    @property
    def is_up(self) -> bool:
        """Whether what is sent has a chance to arrive."""
        return self._outbox is not None

    @property
    def has_room(self) -> bool:
        """Whether something large may be sent."""
        return self._outbox is not None and self._outbox.has_room

    def send(self, channel: int, body: bytes) -> bool:
        """Send a frame; False if it is lost already."""
        return self._outbox is not None and self._outbox.add(channel, body)

    async def run(self) -> None:
        """Dial, send, and dial again, until cancelled."""
        backoff_s = _BACKOFF_MIN_S
        while True:
            began_s = trio.current_time()
            self._report(await self._connect_once())
            if trio.current_time() - began_s > _GOOD_S:
                backoff_s = _BACKOFF_MIN_S
            await trio.sleep(backoff_s * (0.5 + self._owner.random() / 2))
            backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)

    async def _connect_once(self) -> str:
        """One connection from its beginning to its end; why it ended."""
        try:
            with trio.fail_after(_DIAL_S):
                stream = await self._owner.network.open_stream(*split_address(self.address))
        except trio.TooSlowError:
            return f"{self.address} does not answer"
        except OSError as error:
            return f"{self.address} cannot be reached: {error}"
        try:
            return await self._use(stream)
        finally:
            await trio.aclose_forcefully(stream)

    async def _use(self, stream: trio.abc.Stream) -> str:
        reader = FrameReader()
        try:
            with trio.fail_after(_HANDSHAKE_S):
                keys = await self._shake_hands(stream, reader)
        except Refused as refused:
            self._owner.on_refused(self._peer, refused)
            return f"{self.address} refuses: {refused}"
        except BadFrame as error:
            return f"{self.address} is no peer: {error}"
        except (trio.TooSlowError, trio.BrokenResourceError):
            return f"{self.address} did not finish the handshake"
        return await self._serve(stream, reader, keys)

    async def _shake_hands(self, stream: trio.abc.Stream, reader: FrameReader) -> Keys:
        owner = self._owner
        dialling = Dialling(owner.me, self._peer, owner.judge, nonce(owner.random_bytes))
        await stream.send_all(framed(dialling.hello))
        proof = dialling.prove(await read_frame(stream, reader))
        await stream.send_all(framed(proof))
        return dialling.conclude(await read_frame(stream, reader))

    async def _serve(self, stream: trio.abc.Stream, reader: FrameReader, keys: Keys) -> str:
        self._outbox = Outbox()
        self._problem = ""
        logger.info("connected to peer %s at %s", self._peer, self.address)
        self._owner.on_up(self._peer)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ping, self._outbox)
                nursery.start_soon(_pump, self._outbox, stream, Sealer(keys.dialler))
                nursery.start_soon(_watch, stream, reader, Opener(keys.acceptor))
        except* (trio.BrokenResourceError, trio.TooSlowError, BadFrame) as group:
            why = str(group.exceptions[0]) or "the connection broke"
        finally:
            self._outbox = None
            self._owner.on_down(self._peer)
        return f"lost {self.address}: {why}"

    async def _ping(self, outbox: Outbox) -> None:
        while True:
            outbox.add(Channel.PING, b"")
            await trio.sleep(_PING_S)

    def _report(self, problem: str) -> None:
        """Say it once, not at every attempt."""
        if problem != self._problem:
            logger.warning("no connection to peer %s: %s", self._peer, problem)
            self._problem = problem


async def _pump(outbox: Outbox, stream: trio.abc.Stream, sealer: Sealer) -> None:
    while True:
        frames = await outbox.take()
        await stream.send_all(b"".join(sealer.seal(channel, body) for channel, body in frames))


async def _watch(stream: trio.abc.Stream, reader: FrameReader, opener: Opener) -> None:
    """Nothing but our own pings comes back; it must not stay away."""
    while True:
        with trio.move_on_after(_SILENCE_S) as patience:
            channel, body = opener.open(await read_frame(stream, reader))
            if channel != Channel.PING or body:
                raise BadFrame("an answer on a connection of ours")
        if patience.cancelled_caught:
            raise trio.TooSlowError("nothing is heard of it")

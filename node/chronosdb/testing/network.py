"""A network in memory: listeners, and streams with small buffers, as sockets have them.

A peer that does not read makes `send_all` wait, which is what the tests of slow readers are about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import anyio
import anyio.abc
import trio

from chronosdb.node.environment import Listeners
from chronosdb.testing.deliveries import Witness

#: What lies between a sender and a receiver at most, one way.
BUFFER_BYTES = 64 * 1024


class Pipe:
    """One direction of a connection. What is sent is there at once."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._changed = trio.Event()
        #: The sender will send no more.
        self.ended = False
        #: The receiver will read no more.
        self.broken = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest:
            if self.ended:
                raise trio.ClosedResourceError
            if self.broken:
                raise trio.BrokenResourceError
            room = BUFFER_BYTES - len(self._data)
            if not room:
                await self._changed.wait()
                continue
            self._data += rest[:room]
            rest = rest[room:]
            self.notify()

    async def receive_some(self, max_bytes: int | None) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._data and not self.ended:
            if self.broken:
                raise trio.ClosedResourceError
            await self._changed.wait()
        taken = bytes(self._data[:max_bytes])
        del self._data[: len(taken)]
        self.notify()
        return taken

    def end(self) -> None:
        self.ended = True
        self.notify()

    def break_off(self) -> None:
        self.broken = True
        self.notify()

    def notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@final
class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection."""

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        #: Is told what is sent, before it is.
        self.overheard: Callable[[bytes], None] | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.overheard is not None:
            self.overheard(bytes(data))
        await self._outgoing.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self._outgoing.end()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._incoming.receive_some(max_bytes)

    async def aclose(self) -> None:
        self._outgoing.end()
        self._incoming.break_off()
        await trio.lowlevel.checkpoint()


def stream_pair() -> tuple[MemoryStream, MemoryStream]:
    """The two ends of a connection."""
    there, back = Pipe(), Pipe()
    return MemoryStream(back, there), MemoryStream(there, back)


@final
class MemoryListener(trio.abc.Listener[trio.abc.HalfCloseableStream]):
    """Where a node waits for clients."""

    def __init__(self) -> None:
        self.queue, self._arrivals = trio.open_memory_channel[MemoryStream](64)

    async def accept(self) -> trio.abc.HalfCloseableStream:
        try:
            return await self._arrivals.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError from None

    async def aclose(self) -> None:
        self._arrivals.close()
        await trio.lowlevel.checkpoint()


@final
class MemoryNetwork:
    """One address, where at most one node listens."""

    def __init__(self) -> None:
        #: Makes the witness of a connection, if there is to be one.
        self.make_witness: Callable[[], Witness] | None = None
        self._listener: MemoryListener | None = None

    async def listen(self, host: str, port: int) -> Listeners:
        assert (host, port) != ("", 0)
        await trio.lowlevel.checkpoint()
        self._listener = MemoryListener()
        return [self._listener]

    async def open_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        """There is nobody to dial: raises ConnectionRefusedError."""
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError(f"there is no host {host}:{port}")

    async def connect(self) -> MemoryStream:
        """Raises ConnectionRefusedError when nobody listens."""
        if self._listener is None:
            raise ConnectionRefusedError("nobody listens")
        ours, theirs = stream_pair()
        if self.make_witness is not None:
            witness = self.make_witness()
            ours.overheard, theirs.overheard = witness.client_sent, witness.node_sent
        try:
            await self._listener.queue.send(theirs)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectionRefusedError("nobody listens any more") from None
        return ours

    async def dial(self, _host: str, _port: int) -> anyio.abc.ByteStream:
        """As `connect`, in the form of the client library's stream factory."""
        return AnyioStream(await self.connect())


@final
class AnyioStream(anyio.abc.ByteStream):
    """A MemoryStream as the client library sees streams."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            raise anyio.BrokenResourceError from None
        except trio.ClosedResourceError:
            raise anyio.ClosedResourceError from None
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        try:
            await self._stream.send_all(item)
        except trio.BrokenResourceError:
            raise anyio.BrokenResourceError from None
        except trio.ClosedResourceError:
            raise anyio.ClosedResourceError from None

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

"""Several hosts in memory, with connections between them that can be cut in either direction."""

from __future__ import annotations

from typing import final

import trio

from chronosdb.node.environment import Listeners
from chronosdb.testing.network import MemoryListener, stream_pair


class MemoryHosts:
    """All hosts by name. What is cut is neither delivered nor lost: it waits, as in TCP."""

    def __init__(self) -> None:
        self.listeners: dict[str, MemoryListener] = {}
        self._cut: set[tuple[str, str]] = set()
        self._changed = trio.Event()

    def at(self, name: str) -> Host:
        return Host(self, name)

    def cut(self, sender: str, receiver: str) -> None:
        """Nothing gets from one to the other any more."""
        self._cut.add((sender, receiver))

    def isolate(self, name: str, others: list[str]) -> None:
        """Nothing gets in or out."""
        for other in others:
            self._cut |= {(name, other), (other, name)}

    def heal(self) -> None:
        """Everything gets through again, what waited first."""
        self._cut.clear()
        self._changed.set()
        self._changed = trio.Event()

    async def passage(self, sender: str, receiver: str) -> None:
        """Return when something can get from one to the other."""
        await trio.lowlevel.checkpoint()
        while (sender, receiver) in self._cut:
            await self._changed.wait()


@final
class Host:
    """One host's network; implements Network. A name is an address: "n1:1"."""

    def __init__(self, hosts: MemoryHosts, name: str) -> None:
        self._hosts = hosts
        self._name = name

    async def listen(self, host: str, port: int) -> Listeners:
        assert (host, port) == (self._name, 1)
        await trio.lowlevel.checkpoint()
        listener = self._hosts.listeners[self._name] = MemoryListener()
        return [listener]

    async def open_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        assert port == 1
        await self._hosts.passage(self._name, host)
        await self._hosts.passage(host, self._name)
        if host not in self._hosts.listeners:
            raise ConnectionRefusedError("nobody listens")
        ours, theirs = stream_pair()
        try:
            listener = self._hosts.listeners[host]
            await listener.queue.send(Line(theirs, self._hosts, host, self._name))  # type: ignore[arg-type]
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectionRefusedError("nobody listens any more") from None
        return Line(ours, self._hosts, self._name, host)


@final
class Line(trio.abc.HalfCloseableStream):
    """One end of a connection, over cables that can be cut."""

    def __init__(
        self, stream: trio.abc.HalfCloseableStream, hosts: MemoryHosts, here: str, there: str
    ) -> None:
        self._stream = stream
        self._hosts = hosts
        self._here, self._there = here, there

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._hosts.passage(self._here, self._there)
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._hosts.passage(self._here, self._there)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

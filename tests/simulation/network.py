"""A network of machines: what is sent takes its time, and may never come.

A connection is two wires. A wire carries bytes in order, after the delay of its link, and like TCP it
neither loses nor changes any: while a link is blocked its bytes wait, and a connection that breaks
takes with it what had not arrived, from any byte on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import final

import trio

from chronosdb.node.environment import Listeners
from chronosdb.testing.chance import Random
from chronosdb.testing.network import (
    BUFFER_BYTES,
    MemoryListener,
    MemoryStream,
    Pipe,
)
from tests.simulation.leaping_clock import call_at
from tests.simulation.trace import Trace


@final
@dataclass(slots=True)
class Link:
    """The way from one machine to another."""

    latency_s: float
    #: Added to the latency of each piece, up to so many seconds; pieces never overtake each other.
    jitter_s: float
    bytes_per_s: float
    blocked: bool = False


@final
class Wire(Pipe):
    """One direction of a connection."""

    def __init__(self, network: Network, name: str, link: Link) -> None:
        super().__init__()
        self.link = link
        self._network = network
        self._name = name
        #: Pieces on their way, with the time at which each arrives; an empty one: the end.
        self._transit: deque[tuple[float, bytes]] = deque()
        self._transit_bytes = 0
        #: When the last piece arrives. Invariant: never falls, so pieces stay in order.
        self._last_s = 0.0
        #: So many bytes more get through, then the connection breaks.
        self.breaks_after: int | None = None
        #: The connection is no more, from the receiver's view at `_last_s`.
        self.severed = False
        #: The sending machine is gone: nothing enters the wire.
        self.deserted = False
        #: The receiving machine is gone: nobody there who could say that nobody reads.
        self.unattended = False
        #: When the receiver that waits is woken; None: nobody waits. Invariant: when the first piece
        #: arrives, if that is known.
        self._woken_s: float | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while rest:
            if self.ended:
                raise trio.ClosedResourceError
            if self.severed or self.deserted or (self.broken and not self.link.blocked):
                raise trio.BrokenResourceError
            room = BUFFER_BYTES - self._transit_bytes - len(self._data)
            if room <= 0:
                await self._changed.wait()
                continue
            self._carry(bytes(rest[:room]))
            rest = rest[room:]

    async def receive_some(self, max_bytes: int | None) -> bytes:
        if self._data or self._transit or self.broken or self.severed:
            await trio.lowlevel.checkpoint()  # otherwise it waits, which is one
        while True:
            if self.broken:
                raise trio.ClosedResourceError
            next_s = self._arrive()
            if self._data:
                return self._take(max_bytes)
            if next_s == inf and self.severed and not self.link.blocked:
                raise trio.BrokenResourceError
            if next_s < 0:
                return b""
            self._wake_at(next_s)
            try:
                await self._changed.wait()
            finally:
                self._woken_s = None

    def end(self) -> None:
        if not (self.ended or self.deserted or self.severed):
            self._put(b"")
        self.ended = True
        self.notify()

    def break_off(self) -> None:
        if not self.unattended:
            super().break_off()

    def sever(self, kept: int) -> None:
        """Breaks here: of what is on its way, `kept` bytes still arrive."""
        transit, self._transit = self._transit, deque()
        self._transit_bytes = 0
        for arrival_s, piece in transit:
            part = piece[:kept]
            if part:
                self._transit.append((arrival_s, part))
                self._transit_bytes += len(part)
            kept -= len(part)
        self.severed = True
        self.notify()

    def unblocked(self) -> None:
        """What has waited arrives one latency from now at the earliest."""
        earliest_s = trio.current_time() + self.link.latency_s
        self._transit = deque((max(at_s, earliest_s), piece) for at_s, piece in self._transit)
        self._last_s = max(self._last_s, earliest_s)
        self.notify()

    def _carry(self, piece: bytes) -> None:
        self._network.trace.note("send", self._name, piece)
        if self.breaks_after is not None:
            if len(piece) >= self.breaks_after:
                self._network.broke(self, piece[: self.breaks_after])
                return
            self.breaks_after -= len(piece)
        self._put(piece)

    def put_last(self, piece: bytes) -> None:
        """The last that gets through."""
        if piece:
            self._put(piece)

    def _put(self, piece: bytes) -> None:
        link = self.link
        delay_s = link.latency_s + link.jitter_s * self._network.random.random()
        arrival_s = max(self._last_s, trio.current_time() + delay_s) + len(piece) / link.bytes_per_s
        self._last_s = arrival_s
        self._transit.append((arrival_s, piece))
        self._transit_bytes += len(piece)
        # The receiver need not be woken only to wait again: by far most pieces come to one that waits.
        if self._woken_s is not None and arrival_s < self._woken_s and not self.link.blocked:
            self._wake_at(arrival_s)

    def _wake_at(self, time_s: float) -> None:
        self._woken_s = time_s
        if time_s < inf:
            call_at(time_s, partial(self._wake, time_s))

    def _wake(self, time_s: float) -> None:
        if self._woken_s == time_s:
            self.notify()

    def _arrive(self) -> float:
        """Moves what has arrived; when the next piece does: `inf` not yet known, below 0 the end."""
        now_s = trio.current_time()
        while self._transit and not self.link.blocked:
            arrival_s, piece = self._transit[0]
            if arrival_s > now_s:
                return arrival_s
            if not piece:
                return -1.0
            self._transit.popleft()
            self._transit_bytes -= len(piece)
            self._data += piece
        return inf

    def _take(self, max_bytes: int | None) -> bytes:
        network = self._network
        limit = len(self._data) if max_bytes is None else min(max_bytes, len(self._data))
        if limit > 1 and network.random.random() < network.short_reads:
            limit = network.random.randrange(1, limit)
        taken = bytes(self._data[:limit])
        del self._data[:limit]
        self.notify()
        return taken


@final
class Connection:
    """Between two machines: `there` is the wire from the first to the second."""

    def __init__(self, network: Network, client: str, server: str) -> None:
        number = next(network.numbers)
        self.ends = (client, server)
        self.there = Wire(network, f"{number}>{server}", network.link(client, server))
        self.back = Wire(network, f"{number}<{server}", network.link(server, client))

    @property
    def wires(self) -> tuple[Wire, Wire]:
        return self.there, self.back

    @property
    def over(self) -> bool:
        """Whether both sides have let go of it."""
        return all(wire.severed or (wire.ended and wire.broken) for wire in self.wires)

    def sever(self, random: Random) -> None:
        """Breaks both directions, somewhere in what is on its way."""
        for wire in self.wires:
            wire.sever(random.choice((0, random.randrange(1, 4000), BUFFER_BYTES)))

    def desert(self, machine: str) -> None:
        """One of the two machines is gone, and says nothing any more."""
        out, into = self.wires if self.ends[0] == machine else reversed(self.wires)
        out.deserted = into.unattended = True


@final
class Network:
    """Machines by name, each with its ports."""

    def __init__(self, trace: Trace, random: Random, *, short_reads: float) -> None:
        self.trace = trace
        self.random = random
        #: How often a receiver gets only a part of what has arrived.
        self.short_reads = short_reads
        self.numbers: Iterator[int] = iter(range(1_000_000))
        self._links: dict[tuple[str, str], Link] = {}
        self._connections: list[Connection] = []
        self._listeners: dict[tuple[str, int], MemoryListener] = {}
        #: Machines without power.
        self._dark: set[str] = set()

    def link(self, source: str, target: str) -> Link:
        """The way from one machine to another; a quick one until somebody changes it."""
        return self._links.setdefault((source, target), Link(0.0002, 0.0001, 50e6))

    def links(self) -> list[tuple[tuple[str, str], Link]]:
        """All that were ever used, in that order, and between which machines they are."""
        return list(self._links.items())

    def block(self, source: str, target: str, blocked: bool) -> None:
        """Lets nothing through in this direction, or everything again."""
        link = self.link(source, target)
        link.blocked = blocked
        if not blocked:
            for wire in self._wires():
                if wire.link is link:
                    wire.unblocked()

    def connections(self, machine: str) -> list[Connection]:
        """The open ones of a machine, oldest first."""
        self._connections = [one for one in self._connections if not one.over]
        return [one for one in self._connections if machine in one.ends]

    def process_ended(self, machine: str) -> None:
        """The machine's system closes what its process had open."""
        self._close_ports(machine)
        for connection in self.connections(machine):
            connection.desert(machine)
            connection.sever(self.random)

    def power_lost(self, machine: str) -> None:
        """Nobody there to close anything: the others learn of it when it is back, or by its silence."""
        self._close_ports(machine)
        self._dark.add(machine)
        for connection in self.connections(machine):
            connection.desert(machine)

    def power_back(self, machine: str) -> None:
        """It knows nothing of its connections, and says so."""
        self._dark.discard(machine)
        for connection in self.connections(machine):
            connection.sever(self.random)

    def broke(self, wire: Wire, last: bytes) -> None:
        """The wire has reached its breaking point; `last` still gets through."""
        wire.put_last(last)
        for connection in self._connections:
            if wire in connection.wires:
                for one in connection.wires:
                    one.sever(BUFFER_BYTES)

    def interface(self, machine: str) -> Interface:
        """The network as a node on this machine sees it."""
        return Interface(self, machine)

    def listen(self, machine: str, port: int) -> MemoryListener:
        """For whoever dials this machine."""
        listener = self._listeners[machine, port] = MemoryListener()
        return listener

    async def dial(self, source: str, target: str, port: int) -> MemoryStream:
        """A connection.

        Raises:
            ConnectionRefusedError: nobody listens there.
        """
        there, back = self.link(source, target), self.link(target, source)
        await trio.sleep(there.latency_s + back.latency_s)
        if there.blocked or back.blocked or target in self._dark:
            await trio.sleep_forever()
        listener = self._listeners.get((target, port))
        if listener is None:
            raise ConnectionRefusedError("nobody listens")
        connection = Connection(self, source, target)
        self._connections.append(connection)
        try:
            await listener.queue.send(MemoryStream(connection.there, connection.back))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectionRefusedError("nobody listens any more") from None
        return MemoryStream(connection.back, connection.there)

    def _close_ports(self, machine: str) -> None:
        for place in [place for place in self._listeners if place[0] == machine]:
            del self._listeners[place]

    def _wires(self) -> list[Wire]:
        return [wire for connection in self._connections for wire in connection.wires]


@final
class Interface:
    """Implements the node's `Network`."""

    def __init__(self, network: Network, machine: str) -> None:
        self._network = network
        self._machine = machine

    async def listen(self, host: str, port: int) -> Listeners:
        """See `chronosdb.node.environment.Network.listen`."""
        assert (host, port) != ("", 0)
        await trio.lowlevel.checkpoint()
        return [self._network.listen(self._machine, port)]

    async def open_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        """See `chronosdb.node.environment.Network.open_stream`."""
        return await self._network.dial(self._machine, host, port)

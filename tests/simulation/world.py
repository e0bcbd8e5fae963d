"""Everything there is in one run: machines on a network, the people at their clients, and the history."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final, final

import anyio.abc
import trio

from chronosdb.client import Client, connect
from chronosdb.client.seams import Seams
from chronosdb.node.configuration.config import Address
from chronosdb.node.metadata import Metadata
from chronosdb.raft import ClusterView
from chronosdb.testing.chance import Random
from chronosdb.testing.memory_disk import Inode
from chronosdb.testing.network import AnyioStream
from chronosdb.wire.errors import ChronosError
from tests.proof.recorded import Recorded
from tests.simulation.computer import Computer, Surroundings
from tests.simulation.leaping_clock import LeapingClock
from tests.simulation.network import Network
from tests.simulation.survival import AttentiveRecorder, lost
from tests.simulation.swarm import Swarm
from tests.simulation.trace import Trace

#: What wall clocks show at the beginning: a time in 2030.
START_MS: Final = 1_900_000_000_000
TOPIC: Final = "t"

_CLIENT_PORT: Final = 9000
_PEER_PORT: Final = 9001
#: How far the clocks of a cluster are from each other when nothing is wrong.
_SYNCHRONIZED_MS: Final = 5


@final
class World:
    """One run. Whoever needs chance in it asks for a generator of its own, by name."""

    def __init__(
        self, seed: int, swarm: Swarm, clock: LeapingClock, trace: Trace, nursery: trio.Nursery
    ) -> None:
        self.seed = seed
        self.swarm = swarm
        self.trace = trace
        self.network = Network(trace, self.chance("network"), short_reads=swarm.short_reads)
        self._clock = clock
        self._clock_chance = self.chance("clocks")
        self._around = Surroundings(
            nursery, clock, trace, self.network, swarm.disk_s, self.chance("disk")
        )
        self._numbers = count(1)
        self._founders = [self.next_name() for _ in range(swarm.nodes)]
        #: The nodes' machines; those of a cluster may be replaced.
        self.computers = [self._computer(name, self._founders) for name in self._founders]
        #: On so many disks everything is that anybody was told.
        self.copies = swarm.copies
        self.history = io.BytesIO()
        self.recorder = AttentiveRecorder(
            TOPIC, self.history, lambda: round(clock.current_time() * 1e9), lambda: self.now_ms
        )
        #: From now on nobody makes trouble: consumers ack what they get, publishers finish.
        self.calm = trio.Event()
        #: By then everything has fired that is due within the horizon; the rest is due in days.
        self.soon_until_ms = START_MS
        #: What must not be, in words.
        self.violations: list[str] = []

    @property
    def is_cluster(self) -> bool:
        """Whether there are several nodes."""
        return self.swarm.nodes > 1

    @property
    def now_ms(self) -> int:
        """The time that the history goes by: of one node its own, of several the true one."""
        if not self.is_cluster:
            return self.computers[0].now_ms
        return START_MS + int(self._clock.current_time() * 1000)

    def apart(self, computer: Computer) -> dict[str, int]:
        """How far a clock is from the history's, for the checker."""
        return {"offset_ms": computer.now_ms - self.now_ms} if self.is_cluster else {}

    def error_ms(self, computer: Computer) -> int:
        """The step that makes a clock right again; that of a node alone is right by definition."""
        if not self.is_cluster:
            return 0
        right_ms = self.now_ms + self._clock_chance.randint(-_SYNCHRONIZED_MS, _SYNCHRONIZED_MS)
        return right_ms - computer.now_ms

    def metadata(self) -> list[Metadata]:
        """What each node that serves knows of the cluster."""
        nodes = [one.node for one in self.computers if one.serves]
        return [
            node.member.metadata for node in nodes if node is not None and node.member is not None
        ]

    def metadata_view(self) -> ClusterView | None:
        """The newest that any of them has."""
        views = [metadata.view for metadata in self.metadata()]
        return max(views, key=lambda view: view.version, default=None)

    def important(self) -> list[str]:
        """The nodes on which others depend: those that lead partitions, or the metadata."""
        names: set[str] = set()
        for metadata in self.metadata():
            names.add(metadata.leader or "")
            names.update(*(topic.leaders for topic in metadata.view.topics.values()))
        return [one.name for one in self.computers if one.name in names]

    def chance(self, name: str) -> Random:
        """A generator that no other part of the run draws from."""
        return Random(f"{self.seed} {name}")

    def soon(self, ahead_ms: int) -> int:
        """A time within the horizon."""
        due_ms = self.now_ms + ahead_ms
        self.soon_until_ms = max(self.soon_until_ms, due_ms)
        return due_ms

    def forget_clock(self, computer: Computer) -> None:
        """It was ahead, perhaps, and is so no more: by it, retries and occurrences were put off so far."""
        self.soon_until_ms = max(self.soon_until_ms, computer.now_ms + self.swarm.lead_ms)

    def check_survival(self, *, synced: bool = True) -> None:
        """At a crash: whatever anybody was told must be there even if all is lost that may be.

        Not `synced`: what only a power cut may take counts as there.
        """
        disks = [computer.disk for computer in self.computers]
        left = [
            disk.copy() if synced else disk.survivor(range(disk.pending_names), _as_cached)
            for disk in disks
        ]
        for text in lost(self.recorder, left, copies=self.copies):
            self.violation(text)

    def violation(self, text: str) -> None:
        """Something that must not be."""
        self.violations.append(text)
        self.trace.say("VIOLATION", text)

    @asynccontextmanager
    async def connected(self, machine: str, timeout_s: float = 10.0) -> AsyncIterator[Recorded]:
        """A client on a machine of its own; dials until somebody answers."""
        chance = self.chance(f"{machine} {self.recorder.lines}")
        seams = Seams(now_ms=lambda: self.now_ms, random_bytes=chance.randbytes, unit=chance.random)

        async def dial(host: str, port: int) -> anyio.abc.ByteStream:
            return AnyioStream(await self.network.dial(machine, host, port))

        while True:
            dialling = connect(
                ",".join(f"{one.name}:{_CLIENT_PORT}" for one in self.computers),
                timeout=timeout_s,
                client_name=machine,
                stream_factory=dial,
                seams=seams,
            )
            try:
                client: Client = await dialling.__aenter__()
            except ChronosError:
                await trio.sleep(0.2)
            else:
                break
        try:
            yield Recorded(client, self.recorder, machine)
        finally:
            await dialling.__aexit__(None, None, None)

    @property
    def syncs_later(self) -> bool:
        """Whether events are acked before they are synced."""
        return bool(self.swarm.settings["fsync"] == "periodic")

    def next_name(self) -> str:
        """For a node that there was not before."""
        return f"node-{next(self._numbers)}"

    def peer_address(self, name: str) -> str:
        """Where a node is reached by its peers."""
        return str(Address(name, _PEER_PORT))

    def add_computer(self, name: str, *, without: str) -> Computer:
        """A machine for a node that joins those that there are, but for one."""
        others = [one.name for one in self.computers if one.name != without]
        self.computers.append(self._computer(name, others))
        return self.computers[-1]

    def _computer(self, name: str, others: Sequence[str]) -> Computer:
        chance, most_ms = self._clock_chance, _SYNCHRONIZED_MS
        apart_ms = chance.randint(-most_ms, most_ms) if self.is_cluster else 0
        return Computer(
            self._around,
            {**self.swarm.settings, **self._place_of(name, others)},
            name=name,
            start_ms=START_MS + int(self._clock.current_time() * 1000) + apart_ms,
            random=self.chance(name),
        )

    def _place_of(self, name: str, others: Sequence[str]) -> dict[str, Any]:
        """The settings that make a node one of a cluster: of those that begin it, or one that joins."""
        if not self.is_cluster:
            return {}
        return {
            "cluster_name": "simulated",
            "node_id": name,
            "advertise": Address(name, _CLIENT_PORT),
            "peer_advertise": Address(name, _PEER_PORT),
            "initial_cluster" if name in others else "join": tuple(
                (one, Address(one, _PEER_PORT)) for one in others
            ),
        }


def _as_cached(inode: Inode) -> bytearray:
    return inode.cached

"""Everything there is in one run: machines on a network, the people at their clients, and the history."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

import trio
from trio.testing import MockClock

from chronosdb.client import Client, connect
from chronosdb.client.seams import Seams
from chronosdb.testing.chance import Random
from chronosdb.wire.errors import ChronosError
from tests.proof.recorded import Recorded
from tests.simulation.computer import Computer
from tests.simulation.network import Network
from tests.simulation.survival import AttentiveRecorder, lost_if_unsynced_is_lost
from tests.simulation.swarm import Swarm
from tests.simulation.trace import Trace

#: What the wall clock of the first node shows at the beginning: a time in 2030.
START_MS: Final = 1_900_000_000_000
TOPIC: Final = "t"

#: Disk calls whose time matters, because somebody waits for what they promise.
_SLOW_CALLS: Final = frozenset({"pwrite", "fdatasync", "fsync_dir"})
#: The share of the other calls that take time too.
_SLOW_READS: Final = 0.02


@final
class World:
    """One run. Whoever needs chance in it asks for a generator of its own, by name."""

    def __init__(
        self, seed: int, swarm: Swarm, clock: MockClock, trace: Trace, nursery: trio.Nursery
    ) -> None:
        self.seed = seed
        self.swarm = swarm
        self.trace = trace
        self.network = Network(trace, self.chance("network"), short_reads=swarm.short_reads)
        #: Every disk takes so many times as long as it usually does.
        self.disk_factor = 1.0
        self._disk_chance = self.chance("disk")
        #: One node for now. Whatever is done to a machine names it, so that there can be more.
        self.computers = [
            Computer(
                nursery,
                dict(swarm.settings),
                name="node-1",
                clock=clock,
                trace=trace,
                network=self.network,
                start_ms=START_MS,
                random=self.chance("node-1"),
                delay_s=self._disk_delay_s,
            )
        ]
        self.history = io.BytesIO()
        self.recorder = AttentiveRecorder(
            self.history, lambda: round(clock.current_time() * 1e9), lambda: self.node.now_ms
        )
        #: From now on nobody makes trouble: consumers ack what they get, publishers finish.
        self.calm = trio.Event()
        #: By then everything has fired that is due within the horizon; the rest is due in days.
        self.soon_until_ms = START_MS
        #: What must not be, in words.
        self.violations: list[str] = []

    @property
    def node(self) -> Computer:
        """The one whose wall clock the history goes by."""
        return self.computers[0]

    def chance(self, name: str) -> Random:
        """A generator that no other part of the run draws from."""
        return Random(f"{self.seed} {name}")

    def soon(self, ahead_ms: int) -> int:
        """A time within the horizon, by the node's wall clock."""
        due_ms = self.node.now_ms + ahead_ms
        self.soon_until_ms = max(self.soon_until_ms, due_ms)
        return due_ms

    def check_survival(self) -> None:
        """At a crash: whatever anybody was told must be there even if all is lost that may be."""
        for text in lost_if_unsynced_is_lost(self.recorder, self.node.disk, TOPIC):
            self.violation(text)

    def violation(self, text: str) -> None:
        """Something that must not be."""
        self.violations.append(text)
        self.trace.say("VIOLATION", text)

    @asynccontextmanager
    async def connected(self, machine: str, timeout_s: float = 10.0) -> AsyncIterator[Recorded]:
        """A client on a machine of its own; dials until somebody answers."""
        chance = self.chance(f"{machine} {self.recorder.lines}")
        seams = Seams(
            now_ms=lambda: self.node.now_ms, random_bytes=chance.randbytes, unit=chance.random
        )
        while True:
            dialling = connect(
                "node-1:9000",
                timeout=timeout_s,
                client_name=machine,
                stream_factory=lambda host, _port: self.network.dial(machine, host),
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

    def _disk_delay_s(self, call: str) -> float:
        chance = self._disk_chance.random()
        if call not in _SLOW_CALLS and chance > _SLOW_READS:
            return 0.0
        return self.swarm.disk_s * self.disk_factor * chance

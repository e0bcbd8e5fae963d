"""A simulated computer: `chronosdb.testing.machine`, with threads that interleave, a clock that drifts, a process
that can stand still, and a place on the network. Everything it does with its world goes into the trace.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, final

import trio

from chronosdb.node.clock import Clock
from chronosdb.node.environment import Environment
from chronosdb.testing.chance import Random
from chronosdb.testing.machine import Machine
from tests.simulation.leaping_clock import LeapingClock
from tests.simulation.network import Network
from tests.simulation.threads import SteppedThreads
from tests.simulation.trace import Trace
from tests.simulation.wall import DriftingWall
from tests.support.stopped_tasks import Process

#: Disk calls whose time matters, because somebody waits for what they promise.
_SLOW_CALLS: Final = frozenset({"pwrite", "fdatasync", "fsync_dir"})
#: The share of the other calls that take time too.
_SLOW_READS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all computers of a world share."""

    nursery: trio.Nursery
    clock: LeapingClock
    trace: Trace
    network: Network
    #: A slow call of a disk takes up to so many seconds.
    disk_s: float
    disk_chance: Random


@final
class Computer(Machine):
    """Runs one node."""

    def __init__(
        self,
        around: Surroundings,
        settings: dict[str, Any],
        *,
        name: str,
        start_ms: int,
        random: Random,
    ) -> None:
        super().__init__(around.nursery, settings, start_ms=start_ms)
        self.name = name
        self.clock = DriftingWall(around.clock, around.trace, name, start_ms)
        #: Its disk takes so many times as long as it usually does.
        self.disk_factor = 1.0
        #: How many processes it has had.
        self.lives = 0
        self._around = around
        self._process = Process()
        self._workers = self._new_workers()
        self._chance = random
        self.disk.overheard = self._disk_called

    @property
    def now_ms(self) -> int:
        """What its wall clock shows."""
        return self.clock() // 1_000_000

    def environment(self) -> Environment:
        """See `Machine.environment`."""
        self._workers.close()
        self._workers = self._new_workers()
        return replace(
            super().environment(),
            clock=Clock(self.clock),
            threads=self._workers,
            network=self._around.network.interface(self.name),
            random=self._chance,
        )

    def launch(self) -> None:
        """See `Machine.launch`."""
        self._around.network.power_back(self.name)
        self.lives += 1
        self._process = Process()
        with self._process.bearing():
            super().launch()

    def stand_still(self) -> None:
        """Its process does nothing until it may go on (SIGSTOP); its system goes on receiving."""
        self._process.stop()

    def go_on(self) -> None:
        """See `stand_still`."""
        self._process.go_on()

    async def lose_power(self, random: Random | None) -> None:
        """Everything that was not synced is lost, or with `random` any part of it."""
        self._around.network.power_lost(self.name)
        await self.crash(random)

    async def kill(self) -> None:
        """The process ends where it is (kill -9); what it wrote stays with the operating system."""
        self._around.network.process_ended(self.name)
        await self.end_process()
        self.disk.abandon()

    async def end_process(self) -> None:
        """See `Machine.end_process`."""
        self.disk.cut_power_at(1)
        self._workers.kill()
        self.go_on()
        await super().end_process()

    def _new_workers(self) -> SteppedThreads:
        return SteppedThreads(self._disk_delay_s if self._around.disk_s else None)

    def _disk_called(self, call: str, details: tuple[object, ...]) -> None:
        self._around.trace.note(call, *details)
        self._workers.on_disk_call(call)

    def _disk_delay_s(self, call: str) -> float:
        chance = self._around.disk_chance.random()
        if call not in _SLOW_CALLS and chance > _SLOW_READS:
            return 0.0
        return self._around.disk_s * self.disk_factor * chance

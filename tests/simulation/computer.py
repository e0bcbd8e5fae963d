"""A simulated computer: `chronosdb.testing.machine`, with threads that interleave, a clock that drifts,
and a place on the network. Everything it does with its world goes into the trace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, final

import trio
from trio.testing import MockClock

from chronosdb.node.clock import Clock
from chronosdb.node.environment import Environment
from chronosdb.testing.chance import Random
from chronosdb.testing.machine import Machine
from tests.simulation.network import Network
from tests.simulation.threads import SteppedThreads
from tests.simulation.trace import Trace
from tests.simulation.wall import DriftingWall

#: Calls that read; their arguments say enough, and there are many of them.
_READS: Final = frozenset({"pread", "size", "read_file"})


@final
class Computer(Machine):
    """Runs one node. `delay_s` is how long each disk call takes."""

    def __init__(
        self,
        nursery: trio.Nursery,
        settings: dict[str, Any],
        *,
        name: str,
        clock: MockClock,
        trace: Trace,
        network: Network,
        start_ms: int,
        random: Random,
        delay_s: Callable[[str], float],
    ) -> None:
        super().__init__(nursery, settings, start_ms=start_ms)
        self.name = name
        self.clock = DriftingWall(clock, trace, name, start_ms)
        self._delay_s = delay_s
        self._workers = SteppedThreads(delay_s)
        self._trace = trace
        self._net = network
        self._chance = random
        self.disk.overheard = self._disk_called

    @property
    def now_ms(self) -> int:
        """What its wall clock shows."""
        return self.clock() // 1_000_000

    def environment(self) -> Environment:
        """See `Machine.environment`."""
        self._workers.close()
        self._workers = SteppedThreads(self._delay_s)
        return replace(
            super().environment(),
            clock=Clock(self.clock),
            threads=self._workers,
            network=self._net.interface(self.name),
            random=self._chance,
        )

    async def start(self) -> None:
        """Starts the node. Raises what it raises when it cannot."""
        self._net.power_back(self.name)
        await super().start()

    async def lose_power(self, random: Random | None) -> None:
        """Everything that was not synced is lost, or with `random` any part of it."""
        self._net.power_lost(self.name)
        await self.crash(random)

    async def kill(self) -> None:
        """The process ends where it is (kill -9); what it wrote stays with the operating system."""
        self._net.process_ended(self.name)
        await self.end_process()
        self.disk.abandon()

    async def end_process(self) -> None:
        """See `Machine.end_process`."""
        self.disk.cut_power_at(1)
        self._workers.kill()
        await super().end_process()

    def _disk_called(self, call: str, details: tuple[object, ...]) -> None:
        self._trace.note(call, *details)
        self._workers.on_disk_call(call)

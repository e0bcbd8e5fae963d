"""What is done to the node of the mixed load: killed, stopped, its views deleted; and what it costs."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from chronosdb.wal import DataDir
from tests.process.harness import NodeDied, NodeProcess
from tests.process.mixed_world import STEADY, TOPIC, World

#: Seconds between two deaths; less in a run that is shorter than two of them.
LIFE_S: Final = (10.0, 30.0)
#: After a start, how long the steady group may take to be back at its work.
SETTLE_S: Final = 3.0
#: Shares of deaths: by SIGTERM; with the views deleted after it; followed by a kill while starting.
STOPS: Final = 0.3
VIEWS: Final = 0.2
STILLBORN: Final = 0.15
START_S: Final = 0.8
#: What falls due while all is well reaches the steady group within this; generous, for the machine is
#: shared. How late it was is measured.
BOUND_MS: Final = 5000
#: A publish succeeds this soon after a restart.
HEALED_MS: Final = 10_000


class Reaper:
    """Ends the node's lives, one after the other."""

    def __init__(self, world: World, node: NodeProcess, run_s: float) -> None:
        self._world = world
        self._node = node
        self._chance = world.chance("reaper")
        self._haste = min(1.0, run_s / (2 * LIFE_S[1]))

    async def run(self) -> None:
        """Until cancelled, and then until the node is back."""
        while not self._world.finishing.is_set():
            await self._live(self._chance.uniform(*LIFE_S) * self._haste)
            with trio.CancelScope(shield=True):
                await self._die()
                await self.revive()

    async def _live(self, seconds: float) -> None:
        settle_s = min(SETTLE_S, seconds / 2)
        with trio.move_on_after(seconds):
            await _quiet(self._world, settle_s)
            self._say_healthy(on=True)
            await self._world.finishing.wait()
        if not self._node.running:
            raise NodeDied(await self._node.ended(), self._node.said())
        self._say_healthy(on=False)

    def _say_healthy(self, *, on: bool) -> None:
        seen = {"topic": TOPIC, "group": STEADY, "bound_ms": BOUND_MS, "on": on}
        self._world.recorder.saw("healthy", seen)

    async def _die(self) -> None:
        world, chance = self._world, self._chance
        if chance.random() < STOPS:
            code = await self._node.stop()
            world.recorder.saw("stop", {"code": code})
            world.counts["stops"] += 1
            assert code == 0, f"exit code {code}: {self._node.said()}"
        else:
            await self._node.kill()
            world.recorder.saw("crash", {"how": "kill -9"})
            world.counts["kills"] += 1
        if chance.random() < VIEWS:
            shutil.rmtree(DataDir(str(self._node.data_dir)).views)
            world.counts["views deleted"] += 1

    async def revive(self) -> None:
        """Start it, perhaps not at the first attempt."""
        world, chance = self._world, self._chance
        while chance.random() < STILLBORN:
            world.recorder.saw("start")
            await self._node.launch()
            await trio.sleep(chance.uniform(0, START_S))
            await self._node.kill()
            world.recorder.saw("crash", {"how": "kill -9 while starting"})
            world.counts["kills"] += 1
        world.recorder.saw("start")
        await self._node.start()
        world.recorder.saw("serving")
        world.recorder.saw("healed", {"bound_ms": HEALED_MS})


async def _quiet(world: World, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await world.finishing.wait()


@dataclass(slots=True)
class Gauges:
    """The node's memory and disk, sampled."""

    #: (seconds since the run began, bytes)
    memory: list[tuple[float, int]] = field(default_factory=list)
    disk: list[tuple[float, int]] = field(default_factory=list)

    async def run(self, node: NodeProcess, every_s: float = 1.0) -> None:
        """Sample until cancelled."""
        began_s = trio.current_time()
        while True:
            await trio.sleep(every_s)
            at_s = trio.current_time() - began_s
            resident = resident_bytes(node.pid) if node.running else None
            if resident:
                self.memory.append((at_s, resident))
            self.disk.append((at_s, await trio.to_thread.run_sync(folder_bytes, node.data_dir)))

    def memory_figures(self, warm_up_s: float) -> dict[str, float]:
        """In MiB, after the warm-up: at its end, median, most; and how it grows in a minute."""
        later = [(at_s, size / 2**20) for at_s, size in self.memory if at_s >= warm_up_s]
        if len(later) < 2:
            return {}
        times, sizes = zip(*later, strict=True)
        slope = statistics.linear_regression(times, sizes).slope * 60
        return {
            "start": round(sizes[0], 1),
            "median": round(statistics.median(sizes), 1),
            "max": round(max(sizes), 1),
            "per_minute": round(slope, 2),
        }


def resident_bytes(pid: int) -> int | None:
    """What a process has in memory; None if it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    _, found, rest = status.partition("VmRSS:")
    return int(rest.split()[0]) * 1024 if found else None


def folder_bytes(folder: Path) -> int:
    """What all files of a folder take; those that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total

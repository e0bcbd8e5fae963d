"""Load on three real nodes while one after the other is killed, paused, cut off or replaced.

    python -m tests.process.cluster_load --minutes 30 --rate 5000 --seed 1

Everything is published to a topic of three copies, and acked by a quorum of them; an ordered and a shared group
consume it, with members of every kind. At the end, when all copies are level, the nodes are killed,
and one history of all of it, with what logs and copies hold, is held against the promises. The seed
fixes what every task and the nemesis do; the machine's timing is what is being tested.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click
import trio
from rich.console import Console

from chronosdb.client import ChronosError
from chronosdb.wal import OsDisk
from tests.process.cluster_faults import EVERY_S, Nemesis, NodeGauges, Pulse
from tests.process.cluster_network import Cables
from tests.process.cluster_nodes import Cluster
from tests.process.cluster_traces import file_traces
from tests.process.harness import now_ms
from tests.process.load_display import progress, telling, workplace
from tests.process.mixed_faults import HEALED_MS
from tests.process.mixed_load import OPTIONS, SETTINGS, lag, steps
from tests.process.mixed_members import ordered, shared
from tests.process.mixed_work import Changer, Publisher, Repeater
from tests.process.mixed_world import ORDERED, PARTITIONS, SHARED, TOPIC, World
from tests.proof.checker import Verdict, check
from tests.proof.dump_cluster import Holder, dump_cluster
from tests.proof.history import Recorder, read_history, recording
from tests.proof.recorded import Recorded
from tests.proof.screen import print_verdict

GROUPS: Final = (ORDERED, SHARED)
#: Of the ordered group.
MEMBERS: Final = 2
#: A member of the shared group, some of which dawdle, settles this many events in a second, at the least.
_SHARED_EVENTS_PER_S: Final = 1000
NODE_OPTIONS: Final = (*OPTIONS, "--segment-bytes", "32MB")
_HORIZON_S_MIN: Final = 4.0
_HORIZON_S_MAX: Final = 30.0
_DRAIN_S: Final = 300.0
_LOOK_EVERY_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to be."""

    seconds: float
    seed: int
    #: Events published in a second, about; less on a machine that has other things to do.
    rate: float
    #: From one fault to the next.
    every_s: float = EVERY_S
    #: How often a node is wiped and replaced by another.
    replacements: int = 2
    #: A publish succeeds this soon after a fault is over.
    healed_ms: int = HEALED_MS

    @property
    def horizon_ms(self) -> int:
        """The farthest ordinary due time."""
        return round(1000 * max(_HORIZON_S_MIN, min(_HORIZON_S_MAX, self.seconds / 2)))

    @property
    def sharers(self) -> int:
        """Members of the shared group: as many as keep up."""
        return max(2, math.ceil(self.rate / _SHARED_EVENTS_PER_S))


@dataclass(frozen=True, slots=True)
class Result:
    """One run, to be quoted."""

    plan: Plan
    seconds: float
    counts: dict[str, int]
    #: By fault: seconds until the next acked publish to all partitions; median, most, how many.
    outages: dict[str, tuple[float, float, int]]
    memory_mib: dict[str, int]
    disk_mib: int
    history_lines: int
    checker_seconds: float
    judged: dict[str, dict[str, int]]
    broken: dict[str, int]

    @property
    def kept(self) -> bool:
        """Whether all is as promised."""
        return not self.broken


class ClusterLoad:
    """One run."""

    def __init__(self, directory: Path, plan: Plan, recorder: Recorder) -> None:
        self.cluster = Cluster(directory / "nodes", NODE_OPTIONS, cables=Cables())
        self.world = World(
            lambda: self.cluster.servers,
            recorder,
            plan.seed,
            horizon_ms=plan.horizon_ms,
            groups=GROUPS,
        )
        self.gauges = NodeGauges()
        self.pulse = Pulse(self.world)
        self._plan = plan

    async def run(self, tell: Callable[[World, float], None]) -> None:
        """The load, the drain, and the end of all nodes once their copies are level."""
        world, recorder = self.world, self.world.recorder
        recorder.saw("settings", SETTINGS)
        async with self.cluster.running():
            async with world.client("admin") as db:
                await db.create_topic(TOPIC, PARTITIONS, replication=3)
            async with trio.open_nursery() as nursery:
                for number in range(MEMBERS):
                    nursery.start_soon(ordered, world, number)
                for number in range(self._plan.sharers):
                    nursery.start_soon(shared, world, number)
                nursery.start_soon(self.gauges.run, self.cluster)
                nursery.start_soon(telling, world, tell)
                await self._work()
                with trio.fail_after(_DRAIN_S):
                    await self._drain()
                nursery.cancel_scope.cancel()
            await self.cluster.kill(*self.cluster.nodes)
            recorder.saw("crash", {"how": "kill -9"})

    def directories(self) -> dict[str, Holder]:
        """Of the nodes that were members at the end."""
        nodes = self.cluster.nodes.values()
        return {node.name: Holder(OsDisk(), str(node.process.data_dir)) for node in nodes}

    async def _work(self) -> None:
        world, plan = self.world, self._plan
        async with trio.open_nursery() as workers:
            for publisher, timeout_s in (
                (Publisher(world, "batches", plan.rate * 0.8, max(2, round(plan.rate / 8))), 30.0),
                (Publisher(world, "hasty", plan.rate * 0.15, max(2, round(plan.rate / 40))), 0.5),
                (Publisher(world, "singles", plan.rate * 0.05, 5), 30.0),
            ):
                workers.start_soon(steps, world, publisher.step, publisher.name, timeout_s)
            for worker in (Repeater(world), Changer(world)):
                workers.start_soon(steps, world, worker.step, type(worker).__name__.lower(), 30.0)
            workers.start_soon(self.pulse.run)
            strikes = max(1, math.floor(plan.seconds / plan.every_s))
            nemesis = Nemesis(world, self.cluster, self.pulse, plan.healed_ms)
            await nemesis.run(strikes, plan.every_s, plan.replacements)
            world.finishing.set()

    async def _drain(self) -> None:
        """Until both groups have everything that is due, and all copies are level."""
        recorder = self.world.recorder
        async with self.world.client("drain") as db:
            horizon_ms = now_ms() + self._plan.horizon_ms + 1000
            for done in (partial(self._settled, db, horizon_ms), self._level):
                while not await done():  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(_LOOK_EVERY_S)
        recorder.saw("drained", {"topic": TOPIC, "groups": list(GROUPS)})
        recorder.saw("level", {"topic": TOPIC})

    async def _settled(self, db: Recorded, horizon_ms: int) -> bool:
        try:
            pending = await db.count_pending(TOPIC, end=horizon_ms)
            return not pending and not await lag(db, GROUPS)
        except ChronosError as error:
            self.world.counts[f"drain: {error.code}"] += 1
            return False

    async def _level(self) -> bool:
        try:
            return await self.cluster.level(TOPIC)
        except ChronosError:
            return False


def cluster_load(
    directory: Path, plan: Plan, tell: Callable[[World, float], None]
) -> tuple[Result, Verdict]:
    """One run in `directory`."""
    began_s = time.monotonic()
    history = directory / "history.jsonl"
    with recording(history, time.monotonic_ns, now_ms) as recorder:
        load = ClusterLoad(directory, plan, recorder)
        trio.run(load.run, tell)
        file_traces(recorder, {path.stem: path for path in directory.glob("nodes/*.log")})
        dump_cluster(recorder, load.directories())
    ran_s = time.monotonic() - began_s
    verdict = check(read_history(history))
    return Result(
        plan=plan,
        seconds=round(ran_s, 1),
        counts=dict(sorted(load.world.counts.items())),
        outages=_by_fault(load.pulse),
        memory_mib={name: size // 2**20 for name, size in load.gauges.memory.items()},
        disk_mib=load.gauges.disk_bytes(load.cluster) // 2**20,
        history_lines=recorder.lines,
        checker_seconds=round(time.monotonic() - began_s - ran_s, 1),
        judged={name: dict(what) for name, what in verdict.judged.items()},
        broken=dict(verdict.broken),
    ), verdict


def _by_fault(pulse: Pulse) -> dict[str, tuple[float, float, int]]:
    found: dict[str, list[float]] = {}
    for outage in pulse.outages:
        found.setdefault(outage.fault, []).append(outage.seconds)
    return {
        fault: (round(sorted(all_s)[len(all_s) // 2], 2), round(max(all_s), 2), len(all_s))
        for fault, all_s in sorted(found.items())
    }


def _how(world: World) -> str:
    quiet = ("published", "acked", "changes")
    faults = ("kill", "stop", "pause", "cut off", "cut out", "cut in", "kill all", "replace")
    said = [f"{world.counts[name]:,} {name}" for name in quiet]
    said += [f"{world.counts[name]} {name}" for name in faults if world.counts[name]]
    return ("draining: " if world.finishing.is_set() else "") + ", ".join(said)


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.1), default=30.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--rate", type=click.FloatRange(min=10), default=5000.0, show_default=True)
@click.option("--every", type=click.FloatRange(min=1), default=EVERY_S, show_default=True,
              help="Seconds from one fault to the next.")  # fmt: skip
@click.option("--replacements", type=click.IntRange(min=0), default=2, show_default=True)
@click.option("--keep", is_flag=True, help="Leave history and data, also when nothing is broken.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result here, as JSON.")
def main(
    minutes: float,
    seed: int,
    rate: float,
    every: float,
    replacements: int,
    *,
    keep: bool,
    out: Path | None,
) -> None:
    """Harm three nodes one after the other while they work; judge the history of it all."""
    with workplace("chronos-cluster-") as place:
        plan = Plan(minutes * 60, seed, rate, every, replacements)
        with progress("cluster", plan.seconds, _how) as tell:
            result, verdict = cluster_load(place.path, plan, tell)
        print_verdict(Console(width=140, highlight=False), place.path / "history.jsonl", verdict)
        place.keep = keep or not result.kept
    if out:
        out.write_text(json.dumps(asdict(result), indent=2) + "\n")
    click.echo(summary(result))
    sys.exit(not result.kept)


def summary(result: Result) -> str:
    """The run in a few lines."""
    done = ", ".join(f"{count:,} {name}" for name, count in result.counts.items())
    outages = "; ".join(
        f"{fault} {median} s, at most {most} s ({times})"
        for fault, (median, most, times) in result.outages.items()
    )
    memory = ", ".join(f"{name} {size} MiB" for name, size in result.memory_mib.items())
    return (
        f"{'every promise kept' if result.kept else 'NOT AS PROMISED'}: seed {result.plan.seed},"
        f" {result.seconds:.0f} s; {done}\n"
        f"from a fault to the next acked publish to all partitions: {outages}\n"
        f"most memory: {memory}; disk of all {result.disk_mib} MiB\n"
        f"{result.history_lines:,} lines of history, judged in {result.checker_seconds} s"
    )


if __name__ == "__main__":
    main()

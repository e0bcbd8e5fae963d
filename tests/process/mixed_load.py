"""Everything at once, for as long as you like, judged by the checker of tests/proof.

    python -m tests.process.mixed_load --minutes 30 --seed 1

Publishers, changers and replayers work while three groups consume, members come, go and vanish, and
the node is stopped or killed -9 about every 20 s, its views deleted now and then. Then everything is
drained, the logs are dumped, and one history of all of it is held against the promises. The seed fixes
what every task does; the machine's timing is what is being tested.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click
import trio
from rich.console import Console

from chronosdb.client import ChronosError, NotFound
from chronosdb.wal import OsDisk
from tests.process.harness import NodeProcess
from tests.process.load_display import progress, telling, workplace
from tests.process.mixed_faults import Gauges, Reaper, folder_bytes
from tests.process.mixed_members import ordered, shared, steady
from tests.process.mixed_work import Changer, Publisher, Repeater, Replayer, Undertaker
from tests.process.mixed_world import GROUPS, PARTITIONS, TOPIC, World, now_ms
from tests.proof.checker import Verdict, check
from tests.proof.dump import dump
from tests.proof.history import read_history, recording
from tests.proof.recorded import Recorded
from tests.proof.screen import print_verdict

#: Small, so that segments roll, checkpoints run and attempts end within seconds.
OPTIONS: Final = (
    *("--http", "off"),
    *("--checkpoint-interval", "2s"),
    *("--ack-timeout", "2s"),
    *("--backoff", "100ms"),
    *("--backoff-max", "1s"),
    *("--max-attempts", "5"),
)
SETTINGS: Final = {"dedup_window_ms": 7 * 86_400_000, "max_attempts": 5}
#: The farthest ordinary due time, in seconds.
HORIZON_S_MAX: Final = 45.0
DRAIN_S: Final = 180.0
WARM_UP_S: Final = 60.0
#: More than this is a leak: the node's caches and buffers are set to take some 100 MiB.
MEMORY_MIB_MAX: Final = 400.0
#: Log, views and metadata, for each event published.
DISK_BYTES_PER_EVENT_MAX: Final = 1500
#: Of the ordered group, and of the shared one.
MEMBERS: Final = 3
#: How far the last replays by time reach back.
LAST_REPLAYS_MS: Final = 20_000
_PAUSE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to be."""

    seconds: float
    seed: int
    #: Events published in a second, about; less on a machine that has other things to do.
    rate: float
    #: How long what is over is kept, and ids are remembered; 0: to the end.
    retention_s: float = 0.0

    @property
    def node_options(self) -> tuple[str, ...]:
        """Small sizes, so that segments roll and checkpoints run; smaller where segments shall go."""
        return (*OPTIONS, "--segment-bytes", "1MB" if self.retention_s else "8MB")

    @property
    def topic_settings(self) -> dict[str, int]:
        """Of the topic everything happens in."""
        if not self.retention_s:
            return {}
        retention_ms = round(1000 * self.retention_s)
        return {"dedup_window_ms": retention_ms, "retention_ms": retention_ms}


@dataclass(frozen=True, slots=True)
class Result:
    """One run, to be quoted."""

    plan: Plan
    seconds: float
    counts: dict[str, int]
    memory_mib: dict[str, float]
    disk_mib: float
    disk_bytes_per_event: int
    history_lines: int
    checker_seconds: float
    judged: dict[str, dict[str, int]]
    broken: dict[str, int]
    exit_code: int

    @property
    def bounded(self) -> bool:
        """Whether the node stayed within its memory and disk."""
        most = self.memory_mib.get("max", 0.0)
        return most <= MEMORY_MIB_MAX and self.disk_bytes_per_event <= DISK_BYTES_PER_EVENT_MAX

    @property
    def kept(self) -> bool:
        """Whether all is as promised."""
        return not self.broken and self.bounded and self.exit_code == 0


class MixedLoad:
    """One run."""

    def __init__(self, world: World, node: NodeProcess, plan: Plan) -> None:
        self.gauges = Gauges()
        self._world = world
        self._node = node
        self._plan = plan

    async def run(self, tell: Callable[[World, float], None]) -> int:
        """The load, the drain, and an orderly stop; the node's exit code."""
        world = self._world
        world.recorder.saw("settings", SETTINGS)
        async with self._node:
            await self._live(Reaper(world, self._node, self._plan.seconds), tell)
            exit_code = await self._node.stop()
            world.recorder.saw("stop", {"code": exit_code})
        return exit_code

    async def _live(self, reaper: Reaper, tell: Callable[[World, float], None]) -> None:
        world = self._world
        await reaper.revive()
        async with world.client("admin") as db:
            await db.create_topic(TOPIC, PARTITIONS, **self._plan.topic_settings)
        async with trio.open_nursery() as nursery:
            await nursery.start(steady, world)
            for number in range(MEMBERS):
                nursery.start_soon(ordered, world, number)
                nursery.start_soon(shared, world, number)
            nursery.start_soon(self.gauges.run, self._node)
            nursery.start_soon(telling, world, tell)
            await self._work(reaper)
            with trio.fail_after(DRAIN_S):
                await self._drain()
            nursery.cancel_scope.cancel()

    async def _work(self, reaper: Reaper) -> None:
        world, rate = self._world, self._plan.rate
        async with trio.open_nursery() as workers:
            workers.start_soon(reaper.run)
            for publisher, timeout_s in (
                (Publisher(world, "batches", rate * 0.7, 200), 30.0),
                (Publisher(world, "hasty", rate * 0.25, 60), 0.5),
                (Publisher(world, "singles", rate * 0.05, 1), 30.0),
            ):
                workers.start_soon(steps, world, publisher.step, publisher.name, timeout_s)
            for worker in (Repeater(world), Changer(world), Replayer(world), Undertaker(world)):
                workers.start_soon(steps, world, worker.step, type(worker).__name__.lower(), 30.0)
            await trio.sleep(self._plan.seconds)
            world.finishing.set()

    async def _drain(self) -> None:
        """Until every group has everything that is due, which all is but what is due in days."""
        async with self._world.client("drain") as db:
            horizon_ms = now_ms() + self._world.horizon_ms + 1000
            while await self._behind(db, horizon_ms):  # noqa: ASYNC110 - the node tells nobody
                await trio.sleep(_PAUSE_S)
            await db.count_pending(TOPIC)
            await self._replay_the_last(db)
            self._world.recorder.saw("drained", {"topic": TOPIC, "groups": list(GROUPS)})

    async def _replay_the_last(self, db: Recorded) -> None:
        since_ms = now_ms() - LAST_REPLAYS_MS
        for by, start in (("offset", None), ("fired", since_ms), ("scheduled", since_ms)):
            with suppress(NotFound):  # retention may go faster than a replay of everything
                async for _ in db.replay(TOPIC, by=by, start=start):
                    self._world.counts["replayed"] += 1

    async def _behind(self, db: Recorded, horizon_ms: int) -> bool:
        """Whether an event is still to fire, or to be settled by a group."""
        return bool(await db.count_pending(TOPIC, end=horizon_ms) or await lag(db, GROUPS))


async def steps(
    world: World, step: Callable[[Recorded], Awaitable[None]], name: str, timeout_s: float
) -> None:
    """One worker, to the end of the load. What the node's death does to a request is no failure."""
    while not world.finishing.is_set():
        # In a hurry, and while everybody else connects too, that can fail like any request.
        with _counted(world):
            async with world.client(name, timeout_s) as db:
                while not world.finishing.is_set():
                    with _counted(world):
                        await step(db)


@contextmanager
def _counted(world: World) -> Iterator[None]:
    try:
        yield
    except ChronosError as error:
        world.counts[f"{error.code} errors"] += 1


async def lag(db: Recorded, groups: Iterable[str]) -> int:
    """Fired and not settled, in all groups."""
    infos = [await db.group(TOPIC, name) for name in groups]
    return sum(part.lag for info in infos for part in info.partitions)


def mixed_load(
    directory: Path, plan: Plan, tell: Callable[[World, float], None]
) -> tuple[Result, Verdict]:
    """One run in `directory`."""
    began_s = time.monotonic()
    node = NodeProcess(directory / "data", directory / "node.log", plan.node_options)
    history = directory / "history.jsonl"
    with recording(history, time.monotonic_ns, now_ms) as recorder:
        horizon_s = min(HORIZON_S_MAX, max(plan.seconds / 3, 4.0))
        world = World(lambda: node.address, recorder, plan.seed, horizon_ms=round(1000 * horizon_s))
        load = MixedLoad(world, node, plan)
        exit_code = trio.run(load.run, tell)
        dump(recorder, OsDisk(), str(node.data_dir))
    ran_s = time.monotonic() - began_s
    verdict = check(read_history(history))
    disk = folder_bytes(node.data_dir)
    result = Result(
        plan=plan,
        seconds=round(ran_s, 1),
        counts=dict(sorted(world.counts.items())),
        memory_mib=load.gauges.memory_figures(min(WARM_UP_S, plan.seconds / 4)),
        disk_mib=round(disk / 2**20, 1),
        disk_bytes_per_event=disk // max(1, world.counts["published"]),
        history_lines=recorder.lines,
        checker_seconds=round(time.monotonic() - began_s - ran_s, 1),
        judged={name: dict(what) for name, what in verdict.judged.items()},
        broken=dict(verdict.broken),
        exit_code=exit_code,
    )
    return result, verdict


def _how(world: World) -> str:
    names = ("published", "acked", "changes", "replays", "kills", "stops")
    phase = "draining: " if world.finishing.is_set() else ""
    return phase + ", ".join(f"{world.counts[name]:,} {name}" for name in names)


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.1), default=30.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--rate", type=click.FloatRange(min=10), default=600.0, show_default=True)
@click.option("--retention", type=click.FloatRange(min=0), default=0.0, help="In s; 0: for ever.")
@click.option("--keep", is_flag=True, help="Leave history and data, also when nothing is broken.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result here, as JSON.")
def main(
    minutes: float, seed: int, rate: float, retention: float, *, keep: bool, out: Path | None
) -> None:
    """Load a node with everything there is, kill it again and again, judge the history of it all."""
    with workplace("chronos-mixed-") as place:
        plan = Plan(minutes * 60, seed, rate, retention)
        with progress("mixed load", plan.seconds, _how) as tell:
            result, verdict = mixed_load(place.path, plan, tell)
        print_verdict(Console(width=140, highlight=False), place.path / "history.jsonl", verdict)
        place.keep = keep or not result.kept
    if out:
        out.write_text(json.dumps(asdict(result), indent=2) + "\n")
    click.echo(summary(result))
    sys.exit(not result.kept)


def summary(result: Result) -> str:
    """The run in a few lines."""
    counts, memory = result.counts, result.memory_mib
    done = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return (
        f"{'every promise kept' if result.kept else 'NOT AS PROMISED'}: seed {result.plan.seed},"
        f" {result.seconds:.0f} s, the node's last exit code {result.exit_code}; {done}\n"
        f"memory in MiB: {', '.join(f'{name} {size}' for name, size in memory.items())}"
        f" (limit {MEMORY_MIB_MAX:.0f}); disk {result.disk_mib} MiB,"
        f" {result.disk_bytes_per_event} bytes an event (limit {DISK_BYTES_PER_EVENT_MAX})\n"
        f"{result.history_lines:,} lines of history, judged in {result.checker_seconds} s"
    )


if __name__ == "__main__":
    main()

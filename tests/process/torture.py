"""Publish, kill -9 at a random moment, start again, and so on; at the end every promise is checked.

    python -m tests.process.torture --cycles 200 --seed 1

One group consumes across all lives of the node: one member rides through every restart on one
client, another is new in each life. Publishers are cut off with the node; what they were not
answered they publish again in the next life, together with a sample of what they were. The seed
fixes the work and the moments of the kills; the machine's own timing is what is being tested.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import click
import trio
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from chronosdb.client import Client, ConnectionLost, Event, connect
from chronosdb.node.demo.report import Report, make_report
from chronosdb.node.demo.screen import print_report
from chronosdb.node.demo.tally import Tally
from tests.process.harness import (
    TOPIC,
    NodeDied,
    NodeProcess,
    consume,
    evidence,
    now_ms,
    publish,
)

PARTITIONS = 2
PUBLISHERS = 2
LIFE_S_MAX = 0.6
#: Share of lives that end before the node serves.
STILLBORN = 0.1
BATCH_EVENTS_MAX = 60
PAUSE_S_MAX = 0.03
DUE_MS_MAX = 3000
#: Acked events that are published again in each life.
SAMPLE = 20
#: Small, so that segments roll and checkpoints run in lives of half a second.
OPTIONS = (
    *("--http", "off"),
    *("--segment-bytes", "1MB"),
    *("--checkpoint-interval", "100ms"),
)
REQUEST_TIMEOUT_S = 60.0
LAST_LIFE_S = 120.0
#: What is not settled comes again to a member with credits within milliseconds.
QUIET_S = 1.0
#: About what a node takes to start.
START_S = 1.0
LINE_EVERY = 10


@dataclass(frozen=True, slots=True)
class Result:
    """One run, to be quoted."""

    seed: int
    cycles: int
    killed_while_starting: int
    #: Events whose publisher was cut off; all were published again.
    unanswered_at_a_kill: int
    seconds: float
    report: Report


class Torture:
    """One run."""

    def __init__(self, node: NodeProcess, seed: int) -> None:
        self.tally = Tally()
        self.killed_while_starting = 0
        self.unanswered_at_a_kill = 0
        self._node = node
        # Of its own, so that the moments of the kills do not depend on how much work was done.
        self._kills = random.Random(f"{seed}/kills")
        self._work = random.Random(f"{seed}/work")
        #: Being published: not answered yet.
        self._unanswered: dict[str, Event] = {}
        #: Acked, and not answered: the log says whether they are settled.
        self._in_doubt: set[str] = set()
        self._serial = count()
        #: The node of this life is being killed.
        self._dying = False

    async def run(self, cycles: int, after_each: Callable[[], None]) -> int:
        """`cycles` lives that end by kill -9, and one that ends well; its exit code."""
        async with self._node, trio.open_nursery() as nursery:
            await self._node.start()
            await nursery.start(self._ride_through)
            for _ in range(cycles):
                await self._live_and_die()
                await self._revive()
                after_each()
            await self._last_life()
            exit_code = await self._node.stop()
            nursery.cancel_scope.cancel()
        return exit_code

    async def _ride_through(self, task_status: trio.TaskStatus[None]) -> None:
        """The member that stays for all lives."""
        async with connect(self._node.address, timeout=REQUEST_TIMEOUT_S) as db:
            await db.create_topic(TOPIC, partitions=PARTITIONS)
            task_status.started()
            await consume(db, self.tally, "shared", self._in_doubt)

    async def _live_and_die(self) -> None:
        self._dying = False
        async with trio.open_nursery() as life:
            life.start_soon(self._work_for_a_life)
            await trio.sleep(self._kills.uniform(0, LIFE_S_MAX))
            if not self._node.running:
                raise NodeDied(await self._node.ended(), self._node.said())
            self._dying = True
            await self._node.kill()
            life.cancel_scope.cancel()
        self.unanswered_at_a_kill += len(self._unanswered)

    async def _revive(self) -> None:
        while self._kills.random() < STILLBORN:
            await self._node.launch()
            await trio.sleep(self._kills.uniform(0, START_S))
            await self._node.kill()
            self.killed_while_starting += 1
        await self._node.start()

    async def _last_life(self) -> None:
        async with connect(self._node.address, timeout=REQUEST_TIMEOUT_S) as db:
            await self._publish_again(db)
        with trio.move_on_after(LAST_LIFE_S):
            await self._quiet()

    async def _quiet(self) -> None:
        """Wait until every event came, every ack was answered or cut off, and nothing comes again."""
        tally, seen = self.tally, -1
        while len(tally.acked.keys() | self._in_doubt) < len(tally.expected) or seen < tally.again:
            seen = tally.again
            await trio.sleep(QUIET_S)

    async def _work_for_a_life(self) -> None:
        try:
            async with connect(self._node.address, timeout=REQUEST_TIMEOUT_S) as db:
                await self._work_on(db)
        except ConnectionLost:
            if not self._dying:  # a kill may come in the middle of the handshake
                raise

    async def _work_on(self, db: Client) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consume, db, self.tally, "shared", self._in_doubt)
            await self._publish_again(db)
            for _ in range(PUBLISHERS):
                nursery.start_soon(self._publish_on, db)

    async def _publish_on(self, db: Client) -> None:
        work = self._work
        while True:
            await self._publish(
                db, [self._event() for _ in range(work.randint(1, BATCH_EVENTS_MAX))]
            )
            await trio.sleep(work.uniform(0, PAUSE_S_MAX))

    async def _publish_again(self, db: Client) -> None:
        """What the last kill left unanswered, and a sample of what was answered (I5)."""
        answered = list(self.tally.published)
        sample = self._work.sample(answered, min(SAMPLE, len(answered)))
        again = self._unanswered | {i: self.tally.expected[i] for i in sample}
        if again:
            await self._publish(db, list(again.values()))

    async def _publish(self, db: Client, batch: Sequence[Event]) -> None:
        ids = [event.message_id or "" for event in batch]
        self._unanswered |= dict(zip(ids, batch, strict=True))
        await publish(db, self.tally, batch)
        for message_id in ids:
            self._unanswered.pop(message_id, None)

    def _event(self) -> Event:
        """Due in the past, soon, or some lives later; every tenth when it is stored."""
        work, number = self._work, next(self._serial)
        due_ms = now_ms() + work.randint(-100, DUE_MS_MAX)
        return Event(
            payload=work.randbytes(work.randint(0, 300)),
            message_id=f"m{number}",
            key=b"k%d" % (number % 7) if number % 3 == 0 else None,
            schedule_ts=None if number % 10 == 0 else due_ms,
            relative=number % 10 == 0,
        )


@contextmanager
def progress(cycles: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("kill -9", total=cycles)
            yield lambda: bar.advance(task)
    else:
        done = count(1)

        def note() -> None:
            if (now := next(done)) % LINE_EVERY == 0:
                console.print(f"{now} of {cycles} cycles", highlight=False)

        yield note


def torture(directory: Path, cycles: int, seed: int, after_each: Callable[[], None]) -> Result:
    """One run in `directory`."""
    node = NodeProcess(directory / "data", directory / "node.log", OPTIONS)
    run = Torture(node, seed)
    began_ms = now_ms()
    exit_code = trio.run(run.run, cycles, after_each)
    return Result(
        seed=seed,
        cycles=cycles,
        killed_while_starting=run.killed_while_starting,
        unanswered_at_a_kill=run.unanswered_at_a_kill,
        seconds=(now_ms() - began_ms) / 1000,
        report=make_report(run.tally, evidence(node), exit_code),
    )


@click.command()
@click.option("--cycles", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--keep", is_flag=True, help="Leave the data directory.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result here, as JSON.")
def main(cycles: int, seed: int, *, keep: bool, out: Path | None) -> None:
    """Kill a node -9 again and again while it works; exit with 1 if any promise was broken."""
    directory = Path(tempfile.mkdtemp(prefix="chronos-torture-"))
    try:
        with progress(cycles) as after_each:
            result = torture(directory, cycles, seed, after_each)
    finally:
        if keep:
            click.echo(f"kept: {directory}", err=True)
        else:
            shutil.rmtree(directory)
    if out:
        out.write_text(json.dumps(asdict(result), indent=2) + "\n")
    print_report(Console(width=140, highlight=False), result.report)
    click.echo(summary(result))
    sys.exit(not result.report.kept)


def summary(result: Result) -> str:
    """The run in one line."""
    figures = result.report.figures
    verdict = "every promise kept" if result.report.kept else "PROMISES BROKEN"
    return (
        f"{verdict}: seed {result.seed}, {result.cycles} kills -9 while serving and"
        f" {result.killed_while_starting} while starting in {result.seconds:.0f} s;"
        f" {figures['published']:,} events published, {result.unanswered_at_a_kill:,} cut off by a"
        f" kill and published again; {figures['lost']} lost, {figures['early']} early,"
        f" {figures['delivered_twice']:,} delivered twice before their ack"
    )


if __name__ == "__main__":
    main()

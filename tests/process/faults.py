"""A real node under load, one fault after the other, and the common checker at the end.

    python -m tests.process.faults --minutes 5 --seed 1 --faults pause,power

The seed fixes the work, the faults and their order, not the machine's timing. A fault that this machine does
not allow is named as skipped; asked for by name, it is an error.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random

import click
import trio
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from chronosdb.wal import OsDisk
from tests.process.faults_kinds import FAULTS, Fault, World
from tests.process.faults_load import ACK_TIMEOUT_S, GROUPS, TOPIC, Load
from tests.process.faults_machine import Ext4, FakeClock, Namespace
from tests.process.harness import NodeProcess, now_ms
from tests.proof.checker import check
from tests.proof.dump import dump
from tests.proof.history import read_history, recording

MAX_ATTEMPTS = 1000
#: Small, so that segments roll, checkpoints run, and leases expire in the time there is.
OPTIONS = (
    *("--http", "off", "--segment-bytes", "1MB", "--checkpoint-interval", "200ms"),
    *("--ack-timeout", f"{ACK_TIMEOUT_S:g}s", "--max-attempts", str(MAX_ATTEMPTS)),
    *("--backoff", "100ms", "--backoff-max", "500ms"),
)
_DEDUP_WINDOW_MS = 7 * 86_400_000
#: A publish succeeds so soon after the last fault (I16).
HEAL_MS = 10_000
_DRAIN_S = 90.0
_QUIET_S_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """One run, to be quoted."""

    seed: int
    seconds: float
    #: How often each was struck.
    faults: dict[str, int]
    #: Why those that are missing are.
    skipped: dict[str, str]
    published: int
    lines: int
    drained: bool
    problems: list[str]
    violations: list[str]
    judged: dict[str, dict[str, int]]

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return self.drained and not self.problems and not self.violations


def available(names: Sequence[str]) -> tuple[list[Fault], dict[str, str]]:
    """The faults of these names that this machine allows, and why the others are missing."""
    reasons = {name: FAULTS[name].missing() for name in names}
    there = [FAULTS[name] for name, reason in reasons.items() if reason is None]
    return there, {name: reason for name, reason in reasons.items() if reason is not None}


@contextmanager
def world_for(directory: Path, faults: Sequence[Fault]) -> Iterator[World]:
    """A node, not started yet, that lives where all of `faults` can strike it."""
    names = {fault.name for fault in faults}
    node = NodeProcess(directory / "disk" / "data", directory / "node.log", OPTIONS)
    clock = FakeClock(directory / "clock") if "clock" in names else None
    with ExitStack() as stack:
        sink = directory / "history.jsonl"
        recorder = stack.enter_context(
            recording(sink, time.monotonic_ns, lambda: now_ms() + (clock.offset_ms if clock else 0))
        )
        world = World(node, recorder, clock=clock)
        if "power" in names:
            world.ext4 = Ext4(directory / "image", directory / "disk")
            stack.enter_context(world.ext4.mounted())
        if "cut" in names:
            world.namespace = Namespace()
            stack.enter_context(world.namespace.joined())
            node.address = f"{world.namespace.address}:0"
            node.options = (*node.options, "--insecure-i-know")
            node.wrapper = world.namespace.wrapper
        if clock:
            node.wrapper = (*node.wrapper, *clock.wrapper)
        (directory / "disk").mkdir(exist_ok=True)
        yield world


class Run:
    """One run."""

    def __init__(
        self, world: World, faults: Sequence[Fault], seed: int, note: Callable[[str], None]
    ) -> None:
        self.struck: Counter[str] = Counter()
        self.drained = False
        self.load = Load(lambda: world.node.address, world.recorder, Random(f"{seed}/work"))
        self._world = world
        self._faults = faults
        # Of its own, so that the faults do not depend on how much work was done.
        self._chance = Random(f"{seed}/faults")
        self._note = note

    async def run(self, seconds: float, calm_s: float) -> None:
        """Work and faults for `seconds`, then `calm_s` of work alone, then until all is settled."""
        world, load = self._world, self.load
        dedup = {"dedup_window_ms": _DEDUP_WINDOW_MS, "max_attempts": MAX_ATTEMPTS}
        world.recorder.saw("settings", dedup)
        async with world.node:
            await world.start()
            await load.prepare()
            async with trio.open_nursery() as nursery:
                await self._work(nursery, seconds, calm_s)
                nursery.cancel_scope.cancel()
            world.recorder.saw("stop", {"code": await world.node.stop(timeout_s=30)})
        dump(world.recorder, OsDisk(), str(world.node.data_dir))

    async def _work(self, nursery: trio.Nursery, seconds: float, calm_s: float) -> None:
        load, recorder = self.load, self._world.recorder
        unreliable = "consumers" in {fault.name for fault in self._faults}
        async with trio.open_nursery() as publishers:
            for name in ("publisher-1", "publisher-2"):
                publishers.start_soon(load.publisher, name)
            for group in GROUPS:
                nursery.start_soon(load.member, f"{group}-1", group)
                if unreliable:
                    nursery.start_soon(partial(load.member, f"{group}-2", group, reliable=False))
            await self._strike_for(seconds)
            load.calm = True
            recorder.saw("healed", {"bound_ms": HEAL_MS})
            await trio.sleep(calm_s)
            load.publishing = False
        self.drained = await load.drained(_DRAIN_S)
        recorder.saw("drained", {"topic": TOPIC, "groups": list(GROUPS)})

    async def _strike_for(self, seconds: float) -> None:
        until_s = trio.current_time() + seconds
        # Each once, in any order, and then by chance: a short run has all of them as well.
        coming = self._chance.sample(self._faults, len(self._faults))
        while trio.current_time() < until_s:
            await trio.sleep(self._chance.uniform(0.2, _QUIET_S_MAX))
            fault = coming.pop() if coming else self._chance.choice(self._faults)
            await self._strike(fault)

    async def _strike(self, fault: Fault) -> None:
        recorder = self._world.recorder
        recorder.saw("fault", {"what": fault.name, "on": True})
        await fault.strike(self._world, self._chance)
        recorder.saw("fault", {"what": fault.name, "on": False})
        self.struck[fault.name] += 1
        self._note(fault.name)


def run_faults(
    directory: Path,
    names: Sequence[str],
    seconds: float,
    seed: int,
    *,
    calm_s: float = HEAL_MS / 1000 + 1,
    horizon_ms: int = 3000,
    node_options: Sequence[str] = (),
    note: Callable[[str], None] = lambda _: None,
) -> Result:
    """One run in `directory`, which is left as it is at the end but for what was mounted."""
    faults, skipped = available(names)
    began_s = time.monotonic()
    with world_for(directory, faults) as world:
        world.node.options = (*world.node.options, *node_options)
        run = Run(world, faults, seed, note)
        run.load.horizon_ms = horizon_ms
        trio.run(run.run, seconds, calm_s)
        lines = world.recorder.lines
    verdict = check(read_history(directory / "history.jsonl"))
    return Result(
        seed,
        round(time.monotonic() - began_s, 1),
        dict(run.struck),
        skipped,
        run.load.published,
        lines,
        run.drained,
        world.problems,
        [f"{one.invariant}: {one.text}" for one in verdict.violations],
        {invariant: dict(counts) for invariant, counts in sorted(verdict.judged.items())},
    )


@contextmanager
def progress(seconds: float) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal, a line for each fault elsewhere."""
    console, began_s = Console(stderr=True), time.monotonic()
    if not console.is_terminal:
        yield lambda name: console.print(
            f"{time.monotonic() - began_s:6.0f} s  {name}", highlight=False
        )
        return
    struck: Counter[str] = Counter()
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("faults", total=seconds)

        def note(name: str) -> None:
            struck[name] += 1
            said = ", ".join(f"{kind} {times}" for kind, times in sorted(struck.items()))
            bar.update(task, completed=time.monotonic() - began_s, description=said)

        yield note


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.05), default=2.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--faults", "wanted", default="all", show_default=True,
              help=f"Some of {','.join(FAULTS)}.")  # fmt: skip
@click.option("--node-options", default="",
              help='Options of the node, such as "--fsync periodic": a power cut must then be found out.')  # fmt: skip
@click.option("--keep", is_flag=True, help="Leave the history and the node's log.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result here, as JSON.")
def main(
    minutes: float, seed: int, wanted: str, node_options: str, *, keep: bool, out: Path | None
) -> None:
    """Harm a working node; exit with 1 if any promise was broken, with 2 if a fault is missing here."""
    names = list(FAULTS) if wanted == "all" else wanted.split(",")
    if strangers := set(names) - set(FAULTS):
        raise click.UsageError(f"no such fault: {', '.join(sorted(strangers))}")
    for name, reason in available(names)[1].items():
        click.echo(f"SKIPPED {name}: {reason}", err=True)
        if wanted != "all":
            sys.exit(2)
    directory = Path(tempfile.mkdtemp(prefix="chronos-faults-"))
    with progress(minutes * 60) as note:
        options = shlex.split(node_options)
        result = run_faults(directory, names, minutes * 60, seed, note=note, node_options=options)
    if out:
        out.write_text(json.dumps(asdict(result), indent=2) + "\n")
    print_result(result)
    if keep or not result.kept:
        click.echo(f"kept: {directory}", err=True)
    else:
        shutil.rmtree(directory)
    sys.exit(not result.kept)


def print_result(result: Result) -> None:
    """What was judged, what was broken, what was left out."""
    for invariant, counts in result.judged.items():
        click.echo(f"{invariant:4} {', '.join(f'{n:,} {what}' for what, n in counts.items())}")
    for text in (*result.problems, *result.violations):
        click.echo(f"BROKEN {text}")
    if not result.drained:
        click.echo(f"BROKEN not everything was delivered and settled within {_DRAIN_S:g} s")
    for name, reason in result.skipped.items():
        click.echo(f"SKIPPED {name}: {reason}")
    faults = ", ".join(f"{times} {name}" for name, times in sorted(result.faults.items()))
    verdict = "every promise kept" if result.kept else "PROMISES BROKEN"
    click.echo(
        f"{verdict}: seed {result.seed}, {result.seconds:.0f} s, {result.published:,} events published,"
        f" faults: {faults}"
    )


if __name__ == "__main__":
    main()

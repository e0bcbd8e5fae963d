"""Many runs on several cores, and what came of them."""

from __future__ import annotations

import gc
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import Final, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.run import Result

#: Of a violation's text, what the summary shows.
_SHOWN_CHARS: Final = 3000


@final
@dataclass(slots=True)
class Campaign:
    """The sum of many runs."""

    runs: int = 0
    simulated_s: float = 0
    cpu_s: float = 0
    events: int = 0
    lines: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: dict[int, tuple[str, ...]] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    replayed: int = 0
    #: Seeds whose second run was not the first again.
    differing: list[int] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Counts a run; the second of a seed is only compared."""
        if result.seed in self.digests:
            self.replayed += 1
            if self.digests[result.seed] != result.digest:
                self.differing.append(result.seed)
            return
        self.digests[result.seed] = result.digest
        self.runs += 1
        self.simulated_s += result.simulated_s
        self.cpu_s += result.cpu_s
        self.events += result.events
        self.lines += result.lines
        self.faults.update(result.faults)
        if result.violations:
            self.violations[result.seed] = result.violations

    @property
    def clean(self) -> bool:
        """Whether nothing happened that must not."""
        return not self.violations and not self.differing


def campaign(
    seeds: Sequence[int],
    jobs: int,
    replayed: float,
    run_one: Callable[[int], Result],
    console: Console,
) -> Campaign:
    """Runs every seed, and a share of them once more in a process of another hash seed."""
    total = Campaign()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        again = seeds[:: round(1 / replayed)] if replayed else []
        bar = progress.add_task("seeds", total=len(seeds) + len(again))
        for some in (seeds, again):
            for result in _results(some, jobs, run_one):
                total.add(result)
                progress.advance(bar)
                for text in result.violations if some is seeds else ():
                    progress.console.print(
                        f"seed {result.seed}: {text[-_SHOWN_CHARS:]}", markup=False
                    )
    return total


def show(total: Campaign, elapsed_s: float, again: str, console: Console) -> None:
    """The summary."""
    table = Table(show_header=False, box=None)
    rows: list[tuple[str, object]] = [
        ("seeds", total.runs),
        ("simulated", f"{total.simulated_s:,.0f} s"),
        (
            "took",
            f"{elapsed_s:,.0f} s, {total.simulated_s / total.cpu_s:,.0f} simulated s per s of a core",
        ),
        ("events", f"{total.events:,}"),
        ("history lines", f"{total.lines:,}"),
        ("faults", f"{total.faults.total():,}"),
        *((f"  {kind}", f"{number:,}") for kind, number in sorted(total.faults.items())),
        ("run twice", f"{total.replayed}, {len(total.differing)} with another digest"),
        ("violations", f"in {len(total.violations)} seeds"),
    ]
    for name, value in rows:
        table.add_row(name, str(value))
    console.print(table)
    for seed in sorted({*total.violations, *total.differing}):
        console.print(f"python -m tests.simulate {again} --seed {seed} --verbose")


def _results(seeds: Sequence[int], jobs: int, run_one: Callable[[int], Result]) -> Iterator[Result]:
    # Fresh interpreters: each has a hash seed of its own, so what depends on it shows.
    context = multiprocessing.get_context("spawn")
    # What is there before the first run is there for good: no collection need look at it.
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=gc.freeze) as pool:
        futures: list[Future[Result]] = [pool.submit(_run, run_one, seed) for seed in seeds]
        for future in as_completed(futures):
            yield future.result()


def _run(run_one: Callable[[int], Result], seed: int) -> Result:
    return replace(run_one(seed), history=b"")

"""Seed bugs, one at a time, and see that each is noticed.

    python -m tests.mutants [-j 2] [--controls] [NAME…]

Every bug of the tables goes into a private copy of the tree, where the check named beside it must
fail within its budget. With `--controls` each check is first shown to pass without a bug.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from tests.mutants.table import ROOT, Mutant, TableError, all_mutants
from tests.mutants.trial import Trial, Verdict, copy_of, try_control, try_mutant

T = TypeVar("T")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1)
@click.option("-j", "jobs", type=click.IntRange(1, 64), default=2, help="Trials at a time.")
@click.option("--controls", is_flag=True, help="First show that every check passes without a bug.")
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Show why each test failed, and what survivors' checks said.",
)
def main(names: tuple[str, ...], jobs: int, *, controls: bool, verbose: bool) -> None:
    """Seed the bugs NAMES (all of them, if none is named) and see that each is noticed."""
    console = Console()
    try:
        chosen = _chosen(all_mutants(), names)
        with TemporaryDirectory(prefix="mutants-") as folder:
            pristine = Path(folder)
            copy_of(ROOT, pristine)
            for mutant in chosen:
                mutant.mutated(pristine)
            unfit = _run_controls(console, pristine, chosen, jobs) if controls else 0
            failed = _run_mutants(console, pristine, chosen, jobs, verbose=verbose)
    except TableError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(1 if failed or unfit else 0)


def _chosen(mutants: Sequence[Mutant], names: Sequence[str]) -> list[Mutant]:
    unknown = set(names) - {mutant.name for mutant in mutants}
    if unknown:
        raise click.UsageError(f"there is no mutant {', '.join(sorted(unknown))}")
    return [mutant for mutant in mutants if not names or mutant.name in names]


def _run_controls(console: Console, pristine: Path, chosen: Iterable[Mutant], jobs: int) -> int:
    """Run every check once without a bug; how many fail."""
    selections = list(dict.fromkeys(mutant.selection for mutant in chosen))
    work = [partial(try_control, pristine, selection) for selection in selections]
    unfit = 0
    for selection, trial in zip(selections, _all(console, "controls", work, jobs), strict=True):
        if trial.verdict is not Verdict.SURVIVED:
            unfit += 1
            console.print(f"[red]without any bug: {trial.verdict.value}[/] {' '.join(selection)}")
            console.print(trial.output, markup=False, highlight=False)
    console.print(f"{len(selections) - unfit} of {len(selections)} checks pass without a bug")
    return unfit


def _run_mutants(
    console: Console, pristine: Path, chosen: Sequence[Mutant], jobs: int, *, verbose: bool
) -> int:
    """Try every mutant; how many were not caught."""
    began_s = perf_counter()
    work = [partial(try_mutant, pristine, mutant) for mutant in chosen]
    trials = _all(console, "mutants", work, jobs)
    table = Table("mutant", "breaks", "caught by", "seconds", "budget")
    for mutant, trial in zip(chosen, trials, strict=True):
        table.add_row(
            mutant.name,
            mutant.promise,
            _caught_by(trial, verbose=verbose),
            f"{trial.seconds:.1f}",
            str(mutant.budget_s),
        )
        if verbose and trial.verdict is not Verdict.CAUGHT:
            console.print(f"{mutant.name}: {mutant.bug}\n{trial.output}", markup=False)
    console.print(table)
    caught = sum(trial.verdict is Verdict.CAUGHT for trial in trials)
    console.print(
        f"{caught} of {len(trials)} mutants caught in {perf_counter() - began_s:.0f} s"
        f" ({sum(trial.seconds for trial in trials):.0f} s of checks)"
    )
    return len(trials) - caught


def _caught_by(trial: Trial, *, verbose: bool) -> str:
    if trial.verdict is not Verdict.CAUGHT:
        return f"[bold red]{trial.verdict.value}[/]"
    test = escape(trial.by.removeprefix("tests/"))
    return f"{test}\n[dim]{escape(trial.why[:160])}[/]" if verbose else test


def _all(console: Console, what: str, work: Sequence[Callable[[], T]], jobs: int) -> list[T]:
    """What each returns, some at a time, with a progress bar."""
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        task = progress.add_task(what, total=len(work))
        futures = [pool.submit(one) for one in work]
        try:
            for _ in as_completed(futures):
                progress.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


if __name__ == "__main__":
    main()

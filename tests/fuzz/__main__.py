"""Fuzz one target or all.

    python -m tests.fuzz --target all --minutes 1 -j 2

Ends with 1 if there were findings; each is a file, with what it led to beside it, and becomes a part of
the corpus once it is mended.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.fuzz.campaign import Report, fuzz
from tests.fuzz.corpus import renew, save_finding
from tests.fuzz.targets import TARGETS

_LINE_EVERY_S = 60


@click.command()
@click.option(
    "--target", "names", multiple=True, default=("all",), show_default=True,
    type=click.Choice(["all", *TARGETS]),
)  # fmt: skip
@click.option("--minutes", type=click.FloatRange(min=0.01), default=1.0, show_default=True,
              help="Of CPU time, for each target.")  # fmt: skip
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=2, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--findings", type=click.Path(path_type=Path), default=Path("var/fuzz"),
              show_default=True, help="Where findings are written.")  # fmt: skip
@click.option("--renew", "renewing", is_flag=True,
              help="Put the inputs that take every way found into the corpus.")  # fmt: skip
def main(
    names: Sequence[str], minutes: float, jobs: int, seed: int, findings: Path, *, renewing: bool
) -> None:
    """Feed hostile bytes to everything that reads what others wrote."""
    chosen = list(TARGETS) if "all" in names else list(names)
    console = Console(stderr=True)
    with progress(console, len(chosen), minutes * 60) as note:
        reports = fuzz(chosen, minutes * 60, seed, jobs, note)
    for report in reports:
        for found in report.findings:
            story = f"{found.kind}\n\n{found.trace}"
            save_finding(findings / report.target, found.data, story)
        if renewing and report.corpus:
            renew(report.target, report.corpus)
    print_summary(reports, findings)
    sys.exit(any(report.findings for report in reports))


@contextmanager
def progress(console: Console, targets: int, seconds: float) -> Iterator[Callable[[Report], None]]:
    """A bar for each target on a terminal, a line a minute and at the end elsewhere."""
    if not console.is_terminal:
        yield _liner(console)
        return
    text = TextColumn("{task.fields[state]}")
    columns = (TextColumn("{task.description:20}"), BarColumn(), TimeElapsedColumn(), text)
    with Progress(*columns, console=console) as bars:
        whole = bars.add_task("all", total=targets * seconds, state="")
        tasks, gone = {}, dict[str, float]()

        def note(report: Report) -> None:
            name = report.target
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=seconds, state="")
            gone[name] = report.seconds
            bars.update(tasks[name], completed=report.seconds, state=_state(report))
            bars.update(whole, completed=sum(gone.values()))

        yield note


def _liner(console: Console) -> Callable[[Report], None]:
    said = dict[str, float]()

    def note(report: Report) -> None:
        before = said.setdefault(report.target, 0.0)
        if report.corpus is not None or report.seconds - before >= _LINE_EVERY_S:
            said[report.target] = report.seconds
            console.print(
                f"{report.target:20} {report.seconds:5.0f} s  {_state(report)}", highlight=False
            )

    return note


def _state(report: Report) -> str:
    return (
        f"{report.executions:,} runs, corpus {report.given} → {report.kept}, {report.ways:,} ways,"
        f" {len(report.findings)} findings"
    )


def print_summary(reports: Sequence[Report], findings: Path) -> None:
    """A table, and where the findings are."""
    table = Table("target", "seconds", "runs", "runs/s", "corpus", "kept", "ways", "findings")
    for report in sorted(reports, key=lambda report: report.target):
        rate = report.executions / max(report.seconds, 0.001)
        table.add_row(
            report.target,
            f"{report.seconds:.0f}",
            f"{report.executions:,}",
            f"{rate:,.0f}",
            f"{report.given} → {report.kept}",
            str(len(report.corpus or ())),
            f"{report.ways:,}",
            str(len(report.findings)),
        )
    Console(width=120, highlight=False).print(table)
    for report in reports:
        for found in report.findings:
            click.echo(f"{report.target}: {found.kind} (in {findings / report.target})")
    runs = sum(report.executions for report in reports)
    count = sum(len(report.findings) for report in reports)
    click.echo(f"{runs:,} runs against {len(reports)} targets: {count or 'no'} findings")


if __name__ == "__main__":
    main()

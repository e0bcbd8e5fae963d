"""Cut the power at every disk operation of random lives, and recover from all that may be left.

    python -m tests.crash --states 100000 -j 2 --seed 0

Scripts are numbered from the seed on; what a script does and which states it checks follows from its
number alone. To see a violation of script 17 again: `--seed 17 --states 1`.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tests.crash.campaign import run_campaign
from tests.crash.watch import Violation

_SHOWN = 20

_MEANING = {
    "durable": "only what was synced; names in any combination",
    "cached": "all that was written, synced or not",
    "torn": "the last write cut at some byte",
    "length": "the length of writes without their bytes",
    "prefix": "writes up to some point",
    "reordered": "any sectors of any writes",
    "flipped": "one bit of durable bytes is wrong",
}


@click.command()
@click.option("--states", default=100_000, show_default=True, help="Stop after so many states.")
@click.option("--seed", default=0, show_default=True, help="Number of the first script.")
@click.option("-j", "--jobs", default=2, show_default=True, help="Processes.")
def main(states: int, seed: int, jobs: int) -> None:
    """Check crash states; exit with 1 if one was not recovered as promised."""
    logging.disable()
    console = Console()
    kinds: Counter[str] = Counter()
    found: list[tuple[int, Violation]] = []
    began = time.monotonic()
    scripts = 0
    bar = (*Progress.get_default_columns()[:2], MofNCompleteColumn())
    with Progress(*bar, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("crash states", total=states)
        for number, tally in run_campaign(seed, states, jobs):
            scripts += 1
            kinds += tally.kinds
            found += ((number, violation) for violation in tally.violations)
            progress.update(task, completed=min(states, kinds.total()))
    _print(console, scripts, kinds, time.monotonic() - began)
    for number, violation in found[:_SHOWN]:
        console.print(
            f"[red]script {number}, state {violation.number} ({violation.kind}):[/]", violation.why
        )
    console.print(f"{len(found)} violations" if found else "no promise was broken")
    sys.exit(bool(found))


def _print(console: Console, scripts: int, kinds: Counter[str], seconds: float) -> None:
    table = Table("states", "of a disk that kept", box=None)
    for kind, n in kinds.most_common():
        table.add_row(f"{n:,}", _MEANING[kind])
    console.print(table)
    total = kinds.total()
    console.print(
        f"{total:,} states of {scripts} scripts in {seconds:.0f} s: {total / seconds:,.0f} a second"
    )


if __name__ == "__main__":
    main()

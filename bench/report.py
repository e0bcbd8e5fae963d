"""Results for people: a table per piece on the terminal."""

from __future__ import annotations

from typing import Final

import rich.table
from rich.console import Console

from bench import cells
from bench.case import Table
from bench.machine import this_machine

#: Faster than this is no disk: figures would flatter.
MEMORY_MS: Final = 0.01


def print_machine(console: Console) -> None:
    """One line above all tables."""
    text = f"{this_machine()}. Each figure: median (lowest … highest) of all runs"
    console.print(text, highlight=False)


def print_table(console: Console, table: Table) -> None:
    """The figures of one piece, and what failed."""
    names = cells.columns(table)
    grid = rich.table.Table(
        title=f"{table.title} ({cells.runs(table)})", title_justify="left", title_style="bold"
    )
    grid.add_column("case")
    for name in (*names, *(["ratio"] if table.baseline else []), "fdatasync ms", "load"):
        grid.add_column(name, justify="right")
    measured = [result for result in table.results if result.runs]
    for result in measured:
        figures = [cells.summary(cells.values(result, name), "\n") for name in names]
        if table.baseline:
            figures.append(cells.ratio(table, result))
        grid.add_row(result.case, *figures, cells.disk(result), cells.load(result))
    console.print(grid)
    for result in table.results:
        for failure in result.failures:
            console.print(f"{table.piece}: {result.case}: {failure}", style="red", markup=False)
    if any(run.fdatasync_before_ms < MEMORY_MS for result in measured for run in result.runs):
        console.print("TMPDIR is in memory, it seems: point it at a disk for figures that count.")

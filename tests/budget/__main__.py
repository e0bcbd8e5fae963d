"""What each hot path costs now, beside its budget: `python -m tests.budget [--write]`."""

from __future__ import annotations

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.budget.paths import PATHS, instructions
from tests.budget.table import budgets, write


@click.command()
@click.option("--write", "make_budget", is_flag=True, help="Make what it costs now the budget.")
def main(make_budget: bool) -> None:
    """Bytecode instructions for one event of each hot path."""
    known = budgets()
    table = Table("for one event", "instructions", "budget", "by part")
    figures = {}
    for name in track(list(PATHS), "counting"):
        figures[name] = parts = instructions(name)
        budget = sum(known.get(name, {}).values())
        by_part = ", ".join(f"{part} {value:,.1f}" for part, value in parts.items())
        table.add_row(name, f"{sum(parts.values()):,.1f}", f"{budget:,.1f}", by_part)
    Console().print(table)
    if make_budget:
        write(figures)


main()

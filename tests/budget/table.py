"""The budgets: one file of figures, and the same as a table in docs/performance.md."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.budget.counting import PARTS

#: A path may cost so much more than its budget, or less: then the budget is to be lowered.
TOLERANCE: Final = 0.2

_FILE: Final = Path(__file__).with_name("budgets.toml")
_DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "performance.md"
_BEGIN: Final = "<!-- what an event costs: made by `python -m tests.budget --write` -->\n"
_END: Final = "<!-- end of what an event costs -->\n"

#: Instructions for one event, by path, then by part.
Budgets = Mapping[str, Mapping[str, float]]


def budgets() -> Budgets:
    """What each path may cost."""
    return tomllib.loads(_FILE.read_text())


def documented() -> str:
    """The table in the document."""
    return _DOCUMENT.read_text().partition(_BEGIN)[2].partition(_END)[0]


def as_table(figures: Budgets) -> str:
    """The budgets for people."""
    rows = [
        f"| for one event | {' | '.join(PARTS)} | together |\n",
        f"|---|{'---|' * len(PARTS)}---|\n",
    ]
    for name, parts in figures.items():
        cells = [f"{value:,.0f}" for value in (*parts.values(), sum(parts.values()))]
        rows.append(f"| {name} | {' | '.join(cells)} |\n")
    return "".join(rows)


def write(figures: Budgets) -> None:
    """Make these the budgets, and show them in the document."""
    lines = [
        "# Bytecode instructions for one event, CPython 3.11: `python -m tests.budget --write`.\n"
    ]
    for name, parts in figures.items():
        lines.append(f'\n["{name}"]\n')
        lines += [f"{part} = {value:.1f}\n" for part, value in parts.items()]
    _FILE.write_text("".join(lines))
    head, begin, rest = _DOCUMENT.read_text().partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    _DOCUMENT.write_text("".join((head, begin, as_table(budgets()), end, tail)))

"""A screen that is redrawn in place; with output.py the only import of rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from chronosdb.client.cli.output import printable

#: Spaces between two columns, as rich sets them.
_GAP: Final = 2


class Screen:
    """The terminal, while `screen` has it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def draw(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        expendable: Sequence[str],
        note: str,
    ) -> None:
        """Show a table under a title. The first column and the last are text, the others numbers.

        Where the terminal is narrow, `expendable` columns are left out, the first of them first.
        """
        table = Table(box=None, pad_edge=False, header_style="bold")
        columns, rows = fitting(columns, rows, expendable, self._live.console.width)
        for place, column in enumerate(columns):
            number = 0 < place < len(columns) - 1
            table.add_column(column, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        heading = Text(printable(title), style="bold")
        self._live.update(Group(heading, Text(), table, Text(), Text(note)), refresh=True)


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], expendable: Sequence[str], width: int
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """The columns that fit into `width` characters, and their cells."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    kept = [*range(len(columns))]
    for name in expendable:
        if sum(widths[place] + _GAP for place in kept) - _GAP <= width:
            break
        kept.remove(columns.index(name))
    return [columns[place] for place in kept], [[row[place] for place in kept] for row in rows]


@contextmanager
def screen() -> Iterator[Screen]:
    """The whole terminal, which is as it was afterwards."""
    with Live(screen=True, auto_refresh=False) as live:
        yield Screen(live)

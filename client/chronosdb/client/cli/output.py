"""Printing: tables and progress for people, JSON lines for programs. With live.py the only import of rich."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

#: Called with the bytes done since the last call, and a word about how far things are.
Advance = Callable[[int, str], None]
#: Of the names in a list of facts, where none is longer.
_NAME_CHARS: Final = 14


class Output:
    """The terminal, or the pipe, that a command writes to."""

    def text(self, lines: Iterable[str]) -> None:
        """Write these lines, made `printable`, and see to it that the reader has them."""
        self.write("".join(f"{printable(line)}\n" for line in lines))

    def write(self, text: str) -> None:
        """Write `text` as it is."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def json(self, value: Any) -> None:
        """One JSON object on one line."""
        self.text([json_line(value)])

    def facts(self, rows: Sequence[tuple[str, object]]) -> None:
        """Names and values, one to a line, the values below each other."""
        width = max(_NAME_CHARS, *(len(name) + 2 for name, _ in rows))
        self.text([f"{name:<{width}}{value}" for name, value in rows])

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table on a terminal; elsewhere tab-separated, so that nothing is cut off."""
        cells = [[printable(str(cell)) for cell in row] for row in rows]
        if not sys.stdout.isatty():
            self.write("".join("\t".join(row) + "\n" for row in (columns, *cells)))
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        Console().print(table)

    def note(self, text: str) -> None:
        """A remark beside the result: stderr."""
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()

    @contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[Advance]:
        """A bar on stderr over `total` bytes (None: unknown); nothing when that is no terminal."""
        if not sys.stderr.isatty():
            yield lambda _nbytes, _word: None
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[word]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total, word="")
            yield lambda nbytes, word: bar.update(task, advance=nbytes, word=word)

    @contextmanager
    def steps(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on stderr over `total` steps, told how many are done; nothing if that is no terminal."""
        if not sys.stderr.isatty():
            yield lambda _done: None
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda done: bar.update(task, completed=done)


def json_line(value: Any) -> str:
    """`value` as JSON without line breaks, in ASCII: every terminal and locale can carry it."""
    return json.dumps(value, allow_nan=False)


def counted(count: int, noun: str) -> str:
    """`count` in words: 1 event, 2,000 events."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def printable(text: str) -> str:
    """`text` with control characters escaped: what others published must not drive the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

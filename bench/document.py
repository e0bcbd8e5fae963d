"""The tables and plots of docs/performance.md: written by a program, between two marks, from a record."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench import cells
from bench.case import Table
from bench.errors import BenchError
from bench.plots import draw
from bench.record import Record, read_record, write_record

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "performance.md"
#: Records and plots, beside the document.
MEASURED: Final = DOCUMENT.parent / "measured"


def keep(section: str, tables: list[Table]) -> None:
    """Add these to the section's record, and make its plots and its part of the document anew.

    Raises:
        BenchError: the document has no such section, or the record is damaged.
    """
    path = MEASURED / f"{section}.json"
    record = read_record(path).renewed(tables)
    write_record(path, record)
    plots = draw(record, section, MEASURED)
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(replaced(text, section, markdown(record, plots)))


def replaced(document: str, section: str, text: str) -> str:
    """The document with this text between the marks of the section.

    Raises:
        BenchError: the marks are not there.
    """
    begin, end = f"<!-- measured: {section} -->", f"<!-- end: {section} -->"
    before, found_begin, rest = document.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise BenchError(f"{DOCUMENT} has no marks {begin} and {end}: put them where it belongs")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def markdown(record: Record, plots: list[Path]) -> str:
    """All tables, then all plots; each figure is a median (lowest … highest)."""
    images = [f"![{plot.stem}](measured/{plot.name})\n" for plot in plots]
    return "\n".join([*map(_table, record.tables), *images])


def _table(table: Table) -> str:
    names = cells.columns(table)
    head = ["", *names, *(["ratio"] if table.baseline else []), "fdatasync ms", "load"]
    lines = [
        f"**{table.title}** ({cells.runs(table)}, {table.began} UTC, {table.machine})",
        "",
        _row(head),
        _row(["---", *["---:"] * (len(head) - 1)]),
    ]
    for result in table.results:
        if result.runs:
            figures = [cells.summary(cells.values(result, name), " ") for name in names]
            ratio = [cells.ratio(table, result)] if table.baseline else []
            lines.append(
                _row([result.case, *figures, *ratio, cells.disk(result), cells.load(result)])
            )
    failures = [
        f"{result.case} failed: {failure}"
        for result in table.results
        for failure in result.failures
    ]
    return "\n".join([*lines, *(["", *failures] if failures else []), ""])


def _row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"

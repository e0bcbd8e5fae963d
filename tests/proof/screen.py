"""A verdict for people: a table of what was judged, and the lines that prove what is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.proof.checker import INVARIANTS, Verdict
from tests.proof.checker.verdict import Place

_LINE_CHARS: Final = 400


def print_verdict(console: Console, path: Path, verdict: Verdict) -> None:
    """All of it."""
    console.print(verdict_table(verdict))
    lines = _lines(path, {line for one in verdict.violations for line, _ in one.proof})
    for one in verdict.violations:
        console.print(f"[red]{one.invariant}[/red] {escape(one.text)}")
        for place in one.proof:
            console.print(f"    {escape(_shown(lines, place))}", soft_wrap=True)
    hidden = verdict.broken.total() - len(verdict.violations)
    if hidden:
        console.print(f"and {hidden:,} more of the same kinds")


def verdict_table(verdict: Verdict) -> Table:
    """One row for each invariant. One that found nothing to judge says so."""
    table = Table("", "promise", "judged", "broken")
    for invariant, meaning in INVARIANTS.items():
        judged = verdict.judged.get(invariant, Counter())
        what = ", ".join(f"{count:,} {name}" for name, count in judged.items() if count)
        broken = verdict.broken[invariant]
        colour = "red" if broken else "green" if what else "yellow"
        figure = f"{broken:,}" if what or broken else "-"
        table.add_row(
            invariant, meaning, what or "nothing to judge", f"[{colour}]{figure}[/{colour}]"
        )
    return table


def _lines(path: Path, wanted: Iterable[int]) -> dict[int, bytes]:
    numbers = set(wanted)
    if not numbers:
        return {}
    with path.open("rb") as lines:
        # As `read_history` counts: without comments and empty lines.
        real = (raw for raw in lines if not (raw.isspace() or raw.startswith(b"#")))
        return {number: raw for number, raw in enumerate(real, 1) if number in numbers}


def _shown(lines: dict[int, bytes], place: Place) -> str:
    """The line; of one with columns, only the row."""
    number, row = place
    fields: dict[str, Any] = msgspec.json.decode(lines[number])
    if row is not None:
        for name in ("args", "seen"):
            if name in fields:
                fields[name] = _row(fields[name], row)
    text = msgspec.json.encode(fields).decode()
    return f"line {number}: {text[:_LINE_CHARS]}"


def _row(columns: dict[str, Any], row: int) -> dict[str, Any]:
    return {
        name: value[row] if isinstance(value, list) and row < len(value) else value
        for name, value in columns.items()
    }

"""Figures as people read them: median, lowest and highest, three digits that count."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.case import Result, Table


def columns(table: Table) -> list[str]:
    """The names of the figures to show."""
    if table.columns:
        return table.columns
    runs = [run for result in table.results for run in result.runs]
    return list(dict.fromkeys(name for run in runs for name in run.figures))


def values(result: Result, name: str) -> list[float]:
    """One figure of all runs."""
    return [run.figures[name] for run in result.runs if name in run.figures]


def summary(numbers: Sequence[float], between: str) -> str:
    """The median; if not all are alike, then `between` and lowest … highest."""
    if not numbers:
        return ""
    middle = shown(statistics.median(numbers))
    if min(numbers) == max(numbers):
        return middle
    return f"{middle}{between}({shown(min(numbers))} … {shown(max(numbers))})"


def ratio(table: Table, result: Result) -> str:
    """The first figure in parts of the baseline's; empty for the baseline itself."""
    first = columns(table)[0]
    base = [
        number
        for one in table.results
        if one.case == table.baseline
        for number in values(one, first)
    ]
    own = values(result, first)
    if not own or not base or result.case == table.baseline or not statistics.median(base):
        return ""
    return shown(statistics.median(own) / statistics.median(base))


def disk(result: Result) -> str:
    """The disk's own fdatasync in ms: median before → after."""
    before_ms = statistics.median(run.fdatasync_before_ms for run in result.runs)
    after_ms = statistics.median(run.fdatasync_after_ms for run in result.runs)
    return f"{shown(before_ms)} → {shown(after_ms)}"


def load(result: Result) -> str:
    """The median load average."""
    return f"{statistics.median(run.load_average for run in result.runs):.1f}"


def runs(table: Table) -> str:
    """How many there were of each case."""
    counts = [len(result.runs) for result in table.results]
    low, high = min(counts), max(counts)
    plural = "" if high == 1 else "s"
    return f"{high} run{plural} each" if low == high else f"{low} to {high} runs each"


def shown(value: float) -> str:
    """Three significant digits below 100, whole numbers above."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"

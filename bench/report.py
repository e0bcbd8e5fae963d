"""Results for people (a table per piece) and for programs (one JSON file)."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.case import Piece, Result

#: Faster than this is no disk: figures would flatter.
MEMORY_MS: Final = 0.01


def machine() -> dict[str, Any]:
    """What the figures depend on, as far as a program can tell."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def print_machine(console: Console) -> None:
    """One line above all tables."""
    facts = machine()
    console.print(
        f"{facts['cpus']} CPUs, shared by node and clients · Python {facts['python']} ·"
        f" {facts['system']} · each figure: median (lowest … highest) of all runs",
        highlight=False,
    )


def print_piece(console: Console, piece: Piece, results: Sequence[Result]) -> None:
    """The table of one piece."""
    names = list(dict.fromkeys(name for result in results for name in result.runs[0].figures))
    table = Table(title=piece.title, title_justify="left", title_style="bold")
    table.add_column("case")
    for name in (*names, "fdatasync ms", "load"):
        table.add_column(name, justify="right")
    for result in results:
        figures = (_cell(result, name) for name in names)
        table.add_row(result.case.name, *figures, _disk(result), _load(result))
    console.print(table)
    if any(run.fdatasync_before_ms < MEMORY_MS for result in results for run in result.runs):
        console.print("TMPDIR is in memory, it seems: point it at a disk for figures that count.")


def write_json(path: Path, results: Mapping[str, Sequence[Result]]) -> None:
    """Every single run, by piece."""
    pieces = {
        piece: [
            {"case": result.case.name, "runs": [asdict(run) for run in result.runs]}
            for result in its
        ]
        for piece, its in results.items()
    }
    path.write_text(json.dumps({"machine": machine(), "pieces": pieces}, indent=2) + "\n")


def _cell(result: Result, name: str) -> str:
    values = [run.figures[name] for run in result.runs if name in run.figures]
    return _summary(values) if values else ""


def _summary(values: Sequence[float]) -> str:
    middle = _shown(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle}\n({_shown(min(values))} … {_shown(max(values))})"


def _disk(result: Result) -> str:
    """Median before → after."""
    before_ms = statistics.median(run.fdatasync_before_ms for run in result.runs)
    after_ms = statistics.median(run.fdatasync_after_ms for run in result.runs)
    return f"{_shown(before_ms)} → {_shown(after_ms)}"


def _load(result: Result) -> str:
    return f"{statistics.median(run.load_average for run in result.runs):.1f}"


def _shown(value: float) -> str:
    """Three significant digits below 1,000, whole numbers above."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"

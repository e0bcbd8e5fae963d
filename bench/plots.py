"""What tables cannot show: distributions, and how a figure moves with a size."""

from __future__ import annotations

import importlib.util
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.case import Result, Table
from bench.cells import values
from bench.errors import BenchError
from bench.record import Record

_PERCENTILE: Final = re.compile(r"p([\d.]+) ms")
#: The same figures give the same file: plots are kept beside the document.
_STYLE: Final = {"svg.hashsalt": "chronosdb", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
_INCHES: Final = (7.0, 4.0)
#: Where the axis of a distribution has marks, in percent.
_MARKS: Final = (50, 90, 99, 99.9, 99.99)


class Point(NamedTuple):
    """The median of all runs at x, with the lowest and the highest."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines by their labels, both axes logarithmic."""

    name: str
    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[Point]]
    #: x is 1 / (1 - share): each step to the right is one more nine.
    is_distribution: bool = False


def check_can_draw() -> None:
    """Before hours are spent on figures.

    Raises:
        BenchError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise BenchError("plots need matplotlib: pip install matplotlib, or make bench")


def draw(record: Record, section: str, directory: Path) -> list[Path]:
    """Write the plots that the record has figures for; their files.

    Raises:
        BenchError: matplotlib is not installed.
    """
    check_can_draw()
    directory.mkdir(parents=True, exist_ok=True)
    return [
        _write(directory / f"{section}-{plot.name}.svg", plot)
        for plot in plots(record)
        # On a logarithmic axis there is nothing else to see.
        if any(point.y > 0 for line in plot.lines.values() for point in line)
    ]


def plots(record: Record) -> Iterator[Plot]:
    """All that the record has figures for."""
    for table in record.tables:
        if table.piece.startswith("lateness"):
            yield _distribution(table)
    if published := record.table("publish"):
        yield _throughput(_by_callers(published))
    if contestants := _by_contestant(record):
        yield _throughput(contestants)
    if pending := record.table("pending"):
        yield from _by_count(pending)


def _distribution(table: Table) -> Plot:
    """One line for each case."""
    lines = {result.case: _quantiles(result) for result in table.results if result.runs}
    name = table.piece.replace(" ", "-")
    return Plot(
        name,
        table.title,
        "share of events that were received within",
        "ms",
        lines,
        is_distribution=True,
    )


def _quantiles(result: Result) -> list[Point]:
    found = [
        (float(match[1]), name)
        for name in result.runs[0].figures
        if (match := _PERCENTILE.fullmatch(name))
    ]
    return [_point(result, name, 100 / (100 - percent)) for percent, name in sorted(found)]


def _throughput(lines: Mapping[str, Sequence[Point]]) -> Plot:
    return Plot("publish", "publish", "events in a batch", "events/s", lines)


def _by_callers(table: Table) -> Mapping[str, Sequence[Point]]:
    lines: dict[str, list[Point]] = {}
    for result in table.results:
        if result.runs and "random" not in result.case:
            figures = result.runs[0].figures
            line = lines.setdefault(f"{figures['callers']:.0f} in flight", [])
            line.append(_point(result, "events/s", figures["events per batch"]))
    return {name: sorted(line) for name, line in lines.items()}


def _by_contestant(record: Record) -> Mapping[str, Sequence[Point]]:
    lines: dict[str, list[Point]] = {}
    for table in record.tables:
        if match := re.fullmatch(r"publish (\d+)", table.piece):
            for result in table.results:
                if result.runs:
                    point = _point(result, "events/s", float(match[1]))
                    lines.setdefault(result.case, []).append(point)
    return {name: sorted(line) for name, line in lines.items()}


def _by_count(table: Table) -> Iterator[Plot]:
    """What an event costs by how many are pending: time, and memory."""
    measured = [result for result in table.results if result.runs]
    # The peers' table of this name is about one size.
    if any("pending" not in result.runs[0].figures for result in measured):
        return
    for name, y, figures in (
        ("pending-cpu", "CPU µs an event", ("insert µs", "fire µs", "cancel µs")),
        ("pending-memory", "bytes an event", ("bytes/event",)),
    ):
        lines = {
            figure: [_point(one, figure, one.runs[0].figures["pending"]) for one in measured]
            for figure in figures
        }
        yield Plot(name, "cost by what is pending", "events pending", y, lines)


def _point(result: Result, name: str, x: float) -> Point:
    found = values(result, name)
    return Point(x, statistics.median(found), min(found), max(found))


def _write(path: Path, plot: Plot) -> Path:
    import matplotlib as mpl  # noqa: PLC0415 - an optional library: only who draws needs it

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after `use`

    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=_INCHES, layout="constrained")
        for label, points in plot.lines.items():
            x = [point.x for point in points]
            (line,) = axes.plot(x, [point.y for point in points], marker=".", label=label)
            low, high = [point.low for point in points], [point.high for point in points]
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        _label(axes, plot)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return path


def _label(axes: Any, plot: Plot) -> None:
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y, xscale="log", yscale="log")
    axes.title.set(fontsize=9, wrap=True)
    if plot.is_distribution:
        axes.set_xticks([100 / (100 - mark) for mark in _MARKS], [f"{mark:g} %" for mark in _MARKS])
    axes.legend()

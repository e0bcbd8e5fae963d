"""Which lines are drawn of which figures; drawing itself only where matplotlib is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.case import Result, Run, Table
from bench.machine import Machine
from bench.plots import Plot, Point, draw, plots
from bench.record import Record


def table(piece: str, *cases: tuple[str, dict[str, float]]) -> Table:
    """Each case with two runs: these figures, and three times as much."""
    results = [
        Result(name, [Run({key: n * figures[key] for key in figures}, 0.1, 0.1, 1) for n in (1, 3)])
        for name, figures in cases
    ]
    return Table(piece, piece, [], None, Machine(2, "3.11", "Linux"), "", results)


def only(*tables: Table) -> Plot:
    """The one plot of these."""
    (plot,) = plots(Record(list(tables)))
    return plot


def test_latencies_are_drawn_by_the_share_that_is_not_later() -> None:
    """Each nine is a step to the right; other figures are left out."""
    figures = {"p90 ms": 2.0, "p50 ms": 1.0, "max ms": 9.0, "early": 0.0}
    plot = only(table("lateness 1000", ("us", figures)))
    assert plot.is_distribution
    assert plot.lines == {"us": [Point(2, 2, 1, 3), Point(10, 4, 2, 6)]}


def test_contestants_are_drawn_over_batch_sizes_from_several_tables() -> None:
    """One line each, in order of the size."""
    plot = only(
        table("publish 1000", ("us", {"events/s": 10.0}), ("them", {"events/s": 5.0})),
        table("publish 1", ("us", {"events/s": 1.0})),
    )
    assert plot.lines == {
        "us": [Point(1, 2, 1, 3), Point(1000, 20, 10, 30)],
        "them": [Point(1000, 10, 5, 15)],
    }


def test_a_case_without_runs_is_not_drawn() -> None:
    """It failed."""
    failed = table("publish 1", ("us", {"events/s": 1.0}))
    failed.results.append(Result("them", [], ["did not start"]))
    assert list(only(failed).lines) == ["us"]


def test_every_plot_becomes_a_file_that_depends_on_the_figures_only(tmp_path: Path) -> None:
    """So that the same record gives no difference to commit."""
    pytest.importorskip("matplotlib")
    record = Record([table("publish 1", ("us", {"events/s": 1.0}))])
    (first,) = draw(record, "peers", tmp_path / "a")
    (second,) = draw(record, "peers", tmp_path / "b")
    assert first.name == "peers-publish.svg"
    assert first.read_bytes() == second.read_bytes()


def test_a_plot_of_nothing_is_not_drawn(tmp_path: Path) -> None:
    """Every case failed, or nothing is above zero: the night's run goes on."""
    pytest.importorskip("matplotlib")
    failed = Table("lateness 1", "t", [], None, Machine(2, "3", "L"), "", [Result("us")])
    zero = table("publish 1", ("us", {"events/s": 0.0}))
    assert draw(Record([failed, zero]), "peers", tmp_path) == []

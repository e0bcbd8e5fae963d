"""How cases are run, and what is made of their runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cells
from bench.case import Case, Figures, Piece, Result, Run, Table, run_piece
from bench.document import markdown, replaced
from bench.errors import BenchError
from bench.lab import Lab
from bench.machine import Machine
from bench.record import Record, read_record, write_record


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lab]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Lab() as lab:
        yield lab


def table(piece: str = "publish", baseline: str | None = None, **cases: list[float]) -> Table:
    """A table with one figure, events/s, for each run of each case."""
    results = [
        Result(name, [Run({"events/s": value, "hidden": 1}, 0.1, 0.2, 1.5) for value in values])
        for name, values in cases.items()
    ]
    machine = Machine(2, "3.11", "Linux")
    return Table(piece, "Publish", ["events/s"], baseline, machine, "2026-01-02 03:04", results)


def test_cases_are_run_in_rounds(lab: Lab) -> None:
    """A slow minute falls on all cases of a piece."""
    order: list[str] = []

    def case(name: str) -> Case:
        def measure(_: Lab) -> Figures:
            order.append(name)
            return {"x": len(order)}

        return Case(name, measure)

    found = run_piece(lab, Piece("piece", "Title", [case("a"), case("b")]), 2, lambda _: None)
    assert order == ["a", "b", "a", "b"]
    assert [[run.figures["x"] for run in result.runs] for result in found.results] == [
        [1, 3],
        [2, 4],
    ]
    assert not found.failed()


def test_a_case_that_fails_is_said_and_costs_no_other_case_its_figures(lab: Lab) -> None:
    """After two failures it is not tried again."""
    tried: list[int] = []

    def fail(_: Lab) -> Figures:
        tried.append(1)
        raise BenchError("an event came twice")

    cases = [Case("bad", fail), Case("good", lambda _: {"x": 1})]
    found = run_piece(lab, Piece("piece", "Title", cases), 3, lambda _: None)
    assert len(tried) == 2
    assert found.results[0].failures == ["an event came twice"] * 2
    assert len(found.results[1].runs) == 3
    assert found.failed()


def test_a_cell_is_the_median_with_the_lowest_and_the_highest() -> None:
    """One run has no spread, and none has no figure."""
    assert cells.summary([3.0, 1.0, 2.0], " ") == "2 (1 … 3)"
    assert cells.summary([1234.5], " ") == "1,234"
    assert cells.summary([], " ") == ""


def test_a_ratio_is_that_of_the_medians_and_the_baseline_has_none() -> None:
    """Nor has a table without a baseline's figures."""
    found = table(baseline="ours", ours=[10, 20, 30], theirs=[5, 5, 50])
    assert [cells.ratio(found, result) for result in found.results] == ["", "0.25"]
    alone = table(baseline="ours", theirs=[5])
    assert cells.ratio(alone, alone.results[0]) == ""


def test_only_the_columns_asked_for_are_shown() -> None:
    """The others are for plots."""
    assert cells.columns(table(a=[1])) == ["events/s"]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every run of it."""
    path = tmp_path / "deep" / "record.json"
    record = Record([table(a=[1, 2]), table("drain", b=[3])])
    write_record(path, record)
    assert read_record(path) == record
    assert read_record(tmp_path / "none.json") == Record()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """With its name."""
    path = tmp_path / "other.json"
    path.write_text('{"tables": 3}')
    with pytest.raises(BenchError, match=r"other\.json"):
        read_record(path)


def test_measuring_a_piece_again_replaces_its_table_only() -> None:
    """Where it was; a new piece comes last."""
    old = Record([table(a=[1]), table("drain", a=[2])])
    new = old.renewed([table(a=[9]), table("burst", a=[3])])
    assert [(one.piece, one.results[0].runs[0].figures["events/s"]) for one in new.tables] == [
        ("publish", 9),
        ("drain", 2),
        ("burst", 3),
    ]


def test_the_document_is_changed_between_the_marks_only() -> None:
    """And can be changed again."""
    before = "a\n<!-- measured: bench -->\nold\n<!-- end: bench -->\nz\n"
    once = replaced(before, "bench", "new\n")
    assert once == "a\n<!-- measured: bench -->\n\nnew\n\n<!-- end: bench -->\nz\n"
    assert replaced(once, "bench", "new\n") == once


def test_a_document_without_marks_is_left_alone() -> None:
    """Better an error than figures at the wrong place."""
    with pytest.raises(BenchError, match="no marks"):
        replaced("no marks here", "bench", "new")


def test_a_table_in_the_document_says_when_and_where_it_was_measured_and_what_failed() -> None:
    """A row for each case with figures."""
    found = table(baseline="ours", ours=[10, 20, 30], theirs=[5], broken=[])
    found.results[2].failures.append("it did not start")
    text = markdown(Record([found]), [Path("x/bench-publish.svg")])
    where = "2 CPUs, shared by node and clients; Python 3.11; Linux"
    assert text.splitlines() == [
        f"**Publish** (0 to 3 runs each, 2026-01-02 03:04 UTC, {where})",
        "",
        "|  | events/s | ratio | fdatasync ms | load |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| ours | 20 (10 … 30) |  | 0.1 → 0.2 | 1.5 |",
        "| theirs | 5 | 0.25 | 0.1 → 0.2 | 1.5 |",
        "",
        "broken failed: it did not start",
        "",
        "![bench-publish](measured/bench-publish.svg)",
    ]

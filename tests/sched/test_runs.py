"""RunSet against a set, RunMap against a dict."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chronosdb.sched import Run, RunMap, RunSet

UNIVERSE = 40
bounds = st.tuples(st.integers(0, UNIVERSE), st.integers(0, UNIVERSE))
run = bounds.map(sorted).map(tuple).filter(lambda r: r[0] < r[1])


def items(runs: list[Run]) -> list[int]:
    return [item for start, stop in runs for item in range(start, stop)]


class RunSetAgainstSet(RuleBasedStateMachine):
    """Every answer of a RunSet is that of a set of integers, as maximal runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = RunSet()
        self.model: set[int] = set()

    @rule(run=run)
    def add(self, run: Run) -> None:
        new = set(range(*run)) - self.model
        assert items(self.runs.add(*run)) == sorted(new)
        self.model |= new

    @rule(run=bounds)
    def remove(self, run: Run) -> None:
        gone = set(range(*run)) & self.model
        assert items(self.runs.remove(*run)) == sorted(gone)
        self.model -= gone

    @rule(run=bounds)
    def ask(self, run: Run) -> None:
        missing = sorted(set(range(*run)) - self.model)
        assert items(self.runs.gaps(*run)) == missing
        assert items(self.runs.overlaps(*run)) == sorted(set(range(*run)) & self.model)
        gaps = self.runs.gaps(*run)
        assert self.runs.next_gap(*run) == (gaps[0] if gaps else None)

    @invariant()
    def agrees(self) -> None:
        runs = list(self.runs)
        assert items(runs) == sorted(self.model)
        assert len(self.runs) == len(self.model)
        assert all(left[1] < right[0] for left, right in pairwise(runs))
        assert (self.runs.first(), self.runs.last()) == (
            (runs[0], runs[-1]) if runs else (None,) * 2
        )
        assert [i for i in range(UNIVERSE) if i in self.runs] == sorted(self.model)


class RunMapAgainstDict(RuleBasedStateMachine):
    """Every answer of a RunMap is that of a dict, and no piece is ever lost or doubled."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: RunMap[str] = RunMap()
        self.model: dict[int, str] = {}

    @rule(run=run, value=st.sampled_from("abc"))
    def put(self, run: Run, value: str) -> None:
        if self.model.keys() & set(range(*run)):
            with pytest.raises(AssertionError, match="overlaps"):
                self.runs.put(*run, value)
            return
        self.runs.put(*run, value)
        self.model |= dict.fromkeys(range(*run), value)

    @rule(run=bounds)
    def cut(self, run: Run) -> None:
        expected = {i: self.model[i] for i in range(*run) if i in self.model}
        assert self.spread(self.runs.overlaps(*run)) == expected
        assert self.spread(self.runs.cut(*run)) == expected
        for item in expected:
            del self.model[item]

    @invariant()
    def agrees(self) -> None:
        assert self.spread(list(self.runs)) == self.model
        assert {i: self.runs.get(i) for i in range(UNIVERSE)} == {
            i: self.model.get(i) for i in range(UNIVERSE)
        }

    @staticmethod
    def spread(pieces: list[tuple[int, int, str]]) -> dict[int, str]:
        pairs = [(item, value) for start, stop, value in pieces for item in range(start, stop)]
        assert len(dict(pairs)) == len(pairs)
        assert all(start < stop for start, stop, _ in pieces)
        return dict(pairs)


TestRunSet = RunSetAgainstSet.TestCase
TestRunSet.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestRunMap = RunMapAgainstDict.TestCase
TestRunMap.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


@given(st.lists(run, max_size=10))
def test_a_run_set_is_the_same_in_whatever_order_it_was_filled(runs: list[Run]) -> None:
    assert list(RunSet(runs)) == list(RunSet(reversed(runs)))


def test_an_empty_run_can_not_be_added() -> None:
    with pytest.raises(AssertionError):
        RunSet().add(3, 3)


def test_a_run_map_keeps_neighbours_apart() -> None:
    runs: RunMap[str] = RunMap()
    runs.put(5, 9, "x")
    runs.put(0, 5, "x")
    assert list(runs) == [(0, 5, "x"), (5, 9, "x")]
    assert len(runs) == 2

from __future__ import annotations

from array import array
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chronosdb.client.runs import Run, encode_runs, merged, runs_of

POSITIONS = st.lists(st.integers(0, 40), max_size=30)


def covered(runs: list[Run]) -> set[int]:
    return {position for start, stop in runs for position in range(start, stop)}


@given(POSITIONS)
def test_runs_cover_exactly_the_positions(positions: list[int]) -> None:
    """In any order and with repeats."""
    assert covered(runs_of(positions)) == set(positions)


@given(st.integers(0, 2**62), st.integers(1, 50))
def test_consecutive_positions_are_one_run(first: int, count: int) -> None:
    assert runs_of(list(range(first, first + count))) == [(first, first + count)]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=20))
def test_merging_keeps_the_set_and_leaves_gaps_between_runs(spans: list[tuple[int, int]]) -> None:
    runs = [(start, start + length) for start, length in spans]
    joined = merged(runs)
    assert covered(joined) == covered(runs)
    assert all(left[1] < right[0] for left, right in pairwise(joined))


def test_runs_travel_as_pairs_of_i64() -> None:
    assert array("q", encode_runs([(1, 3), (7, 8)]).tobytes()).tolist() == [1, 3, 7, 8]

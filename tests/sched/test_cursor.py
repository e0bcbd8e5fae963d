"""The cursor against a set of settled positions, and its bytes against every kind of damage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chronosdb.sched import CorruptStateError, Cursor, Run
from chronosdb.sched.cursor import POSITION_MAX

UNIVERSE = 40
bounds = st.tuples(st.integers(0, UNIVERSE), st.integers(0, UNIVERSE))
run = bounds.map(sorted).map(tuple).filter(lambda r: r[0] < r[1])


class CursorAgainstSet(RuleBasedStateMachine):
    """A cursor knows what is settled, and its low mark only rises."""

    @initialize(low=st.integers(0, 5))
    def start(self, low: int) -> None:
        self.cursor = Cursor(low)
        self.model = set(range(low))
        self.low = low

    @rule(run=run)
    def settle(self, run: Run) -> None:
        new = set(range(*run)) - self.model
        settled = [p for settled in self.cursor.settle(*run) for p in range(*settled)]
        assert settled == sorted(new)
        self.model |= new

    @rule()
    def survive_a_restart(self) -> None:
        restored = Cursor.from_bytes(self.cursor.to_bytes())
        assert restored == self.cursor
        assert repr(restored) == repr(self.cursor)
        self.cursor = restored

    @rule(run=bounds)
    def ask(self, run: Run) -> None:
        unsettled = [p for gap in self.cursor.unsettled(*run) for p in range(*gap)]
        assert unsettled == sorted(set(range(*run)) - self.model)
        assert self.cursor.lag(run[1]) == len(set(range(run[1])) - self.model)

    @invariant()
    def low_mark_is_the_first_unsettled_and_never_goes_back(self) -> None:
        first_unsettled = min(set(range(UNIVERSE + 1)) - self.model)
        assert self.cursor.low == first_unsettled >= self.low
        self.low = self.cursor.low
        assert {p for p in range(UNIVERSE) if self.cursor.is_settled(p)} == self.model
        assert all(start > self.cursor.low for start, _ in self.cursor.above())


TestCursor = CursorAgainstSet.TestCase
TestCursor.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


def test_the_worked_example_of_the_format() -> None:
    cursor = Cursor(10)
    cursor.settle(12, 14)
    assert cursor.to_bytes() == bytes.fromhex("010a0202")


@given(st.binary(max_size=20) | st.binary(max_size=20).map(lambda tail: b"\x01" + tail))
@settings(max_examples=300)
def test_any_bytes_are_a_cursor_that_encodes_to_them_or_an_error(data: bytes) -> None:
    try:
        cursor = Cursor.from_bytes(data)
    except CorruptStateError:
        return
    assert cursor.to_bytes() == data


@pytest.mark.parametrize(
    "data",
    [
        "",  # nothing
        "02 0a",  # another version
        "01",  # no low mark
        "01 8a",  # ends inside a number
        "01 8a 00",  # a needless byte
        "01 0a 02",  # a gap without a run
        "01 0a 00 02",  # an empty gap
        "01 0a 02 00",  # an empty run
        "01 80 80 80 80 80 80 80 80 80 01",  # 2**63
        "01 ff ff ff ff ff ff ff ff 7f 01 01",  # a run above the last position
    ],
)
def test_each_way_to_be_wrong_is_refused(data: str) -> None:
    with pytest.raises(CorruptStateError):
        Cursor.from_bytes(bytes.fromhex(data))


def test_the_last_position_is_kept_exactly() -> None:
    cursor = Cursor(POSITION_MAX - 2)
    cursor.settle(POSITION_MAX - 1, POSITION_MAX)
    assert Cursor.from_bytes(cursor.to_bytes()) == cursor


def test_settling_the_past_again_changes_nothing() -> None:
    cursor = Cursor(10)
    assert cursor.settle(0, 10) == []
    assert cursor == Cursor(10)


def test_a_cursor_is_no_dictionary_key() -> None:
    with pytest.raises(TypeError):
        hash(Cursor())

"""The wheel against a sorted list."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chronosdb.sched import Wheel
from chronosdb.sched.level import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

YEAR_MS = 365 * 24 * 3_600_000
LAST_MS = (1 << 63) - 1

# Times near each other, near the edges of slots at every level, and anywhere at all.
distances = st.one_of(
    st.integers(0, 600),
    st.integers(0, 7).flatmap(lambda n: st.integers(max(0, (1 << 8 * n) - 3), (1 << 8 * n) + 3)),
    st.integers(0, 1 << 62),
)
starts = st.sampled_from([0, 255, 1_700_000_000_000, (1 << 40) - 1])


def insert(wheel: Wheel, timers: list[tuple[int, int]]) -> None:
    columns = np.array(timers, dtype=np.int64).reshape(-1, 2)
    wheel.insert(columns[:, 0].copy(), columns[:, 1].copy())


def expire(wheel: Wheel, now_ms: int, limit: int = 1_000_000) -> list[tuple[int, int]]:
    due_ms, keys = wheel.expire(now_ms, limit)
    return list(zip(due_ms.tolist(), keys.tolist(), strict=True))


class WheelAgainstSortedList(RuleBasedStateMachine):
    """Any mix of inserts, steps, jumps and steps back gives what a sorted list gives."""

    @initialize(now_ms=starts, tail_max=st.sampled_from([1, 3, 1_000]))
    def start(self, now_ms: int, tail_max: int) -> None:
        self.now_ms = now_ms
        self.next_key = 0
        self.wheel = Wheel(now_ms, tail_max=tail_max)
        self.model: list[tuple[int, int]] = []

    @rule(distances=st.lists(distances, max_size=30), sign=st.sampled_from([1, 1, 1, -1]))
    def insert(self, distances: list[int], sign: int) -> None:
        timers = [
            (min(self.now_ms + sign * distance, LAST_MS), self.next_key + i)
            for i, distance in enumerate(distances)
        ]
        self.next_key += len(timers)
        insert(self.wheel, timers)
        self.model = sorted(self.model + timers)

    @rule(due=distances, count=st.integers(1, 40))
    def insert_one_instant_in_reverse(self, due: int, count: int) -> None:
        keys = range(self.next_key, self.next_key + count)
        timers = [(min(self.now_ms + due, LAST_MS), key) for key in reversed(keys)]
        self.next_key += count
        insert(self.wheel, timers)
        self.model = sorted(self.model + timers)

    @precondition(lambda self: self.model)
    @rule(share=st.floats(0, 0.99))
    def cut(self, share: float) -> None:
        keep = int(len(self.model) * share)
        edge_ms = self.wheel.cut(keep)
        kept = [timer for timer in self.model if timer[0] < edge_ms]
        assert len(self.wheel) == len(kept), "neither more nor less than what is due before"
        assert kept, "never all"
        self.model = kept

    @rule(distance=distances, limit=st.integers(1, 50))
    def advance_and_expire(self, distance: int, limit: int) -> None:
        self.now_ms = min(self.now_ms + distance, LAST_MS)
        self.check_expire(limit)

    @rule(distances=st.lists(distances, min_size=1, max_size=6))
    def count_what_is_ahead(self, distances: list[int]) -> None:
        begin_ms = self.wheel._time_ms + 1
        edges = sorted(min(begin_ms + distance, LAST_MS) for distance in distances)
        spans = pairwise(edges)
        expected = [sum(low <= due < high for due, _ in self.model) for low, high in spans]
        assert self.wheel.count_due(edges) == expected

    @rule(distance=distances, limit=st.integers(1, 50))
    def step_back_and_expire(self, distance: int, limit: int) -> None:
        self.now_ms = max(self.now_ms - distance, 0)
        self.check_expire(limit)

    @precondition(lambda self: self.model)
    @rule(limit=st.integers(1, 50), offset=st.sampled_from([-1, 0]))
    def go_to_the_next_due_time(self, limit: int, offset: int) -> None:
        self.now_ms = max(self.model[0][0] + offset, 0)
        self.check_expire(limit)

    def check_expire(self, limit: int) -> None:
        due = [timer for timer in self.model if timer[0] <= self.now_ms][:limit]
        assert expire(self.wheel, self.now_ms, limit) == due
        self.model = self.model[len(due) :]

    @invariant()
    def wakeup_is_never_late(self) -> None:
        wakeup_ms = self.wheel.next_wakeup_ms()
        if not self.model:
            assert wakeup_ms is None
        else:
            assert wakeup_ms is not None
            assert wakeup_ms <= self.model[0][0]

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.wheel) == len(self.model)


TestWheel = WheelAgainstSortedList.TestCase
TestWheel.settings = settings(max_examples=70, stateful_step_count=30, deadline=None)


@given(st.lists(distances, min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_following_the_wakeups_delivers_everything_on_its_millisecond(dues: list[int]) -> None:
    wheel = Wheel(0)
    insert(wheel, [(due, key) for key, due in enumerate(dues)])
    fired = []
    wakeups = 0
    while (now_ms := wheel.next_wakeup_ms()) is not None:
        for due_ms, key in expire(wheel, now_ms):
            assert due_ms == now_ms
            fired.append((due_ms, key))
        wakeups += 1
    assert fired == sorted((due, key) for key, due in enumerate(dues))
    assert wakeups <= 8 * len(set(dues))


@pytest.mark.parametrize("count", [1, 8, 9, 5_000])
def test_one_instant_comes_out_in_key_order_whatever_the_batch_size(count: int) -> None:
    wheel = Wheel(10)
    insert(wheel, [(70_000, key) for key in reversed(range(count))])
    assert expire(wheel, 69_999) == []
    assert expire(wheel, 70_000) == [(70_000, key) for key in range(count)]


def test_times_before_1970_and_the_last_representable_one_are_accepted() -> None:
    wheel = Wheel(0)
    insert(wheel, [(LAST_MS, 1), (-LAST_MS, 2), (-1, 3), (0, 4)])
    assert expire(wheel, 0) == [(-LAST_MS, 2), (-1, 3), (0, 4)]
    assert expire(wheel, LAST_MS - 1) == []
    assert expire(wheel, LAST_MS) == [(LAST_MS, 1)]


def test_a_jump_of_a_century_expires_every_timer_in_order() -> None:
    wheel = Wheel(0)
    rng = np.random.default_rng(1)
    timers = [(int(due), key) for key, due in enumerate(rng.integers(0, 100 * YEAR_MS, 3_000))]
    insert(wheel, timers)
    fired = []
    while batch := expire(wheel, 100 * YEAR_MS, limit=700):
        fired += batch
    assert fired == sorted(timers)


def test_after_a_step_back_a_timer_waits_for_the_clock_to_reach_it_again() -> None:
    wheel = Wheel(0)
    assert expire(wheel, 5_000) == []
    insert(wheel, [(3_000, 1), (4_000, 2)])
    assert expire(wheel, 2_999) == []
    assert wheel.next_wakeup_ms() == 3_000
    assert expire(wheel, 3_000) == [(3_000, 1)]
    assert expire(wheel, 4_000) == [(4_000, 2)]


def test_what_a_limit_left_waits_when_the_clock_steps_back() -> None:
    wheel = Wheel(0)
    insert(wheel, [(100, 1), (100, 2), (200, 3)])
    assert expire(wheel, 300, limit=1) == [(100, 1)]
    assert expire(wheel, 99, limit=9) == []
    assert expire(wheel, 150, limit=9) == [(100, 2)]
    assert expire(wheel, 200, limit=9) == [(200, 3)]


def test_latecomers_are_merged_into_a_leftover_burst_in_order() -> None:
    wheel = Wheel(0)
    insert(wheel, [(500, key) for key in range(1_000)])
    fired = expire(wheel, 600, limit=10)
    for key in range(1_000, 1_100):
        insert(wheel, [(400 + key % 150, key)])
        fired += expire(wheel, 600, limit=3)
    rest = expire(wheel, 600)
    assert rest == sorted(rest)
    assert sorted(key for _, key in fired + rest) == list(range(1_100))


@pytest.mark.parametrize("now_ms", [1 << 17, 1 << 25, 1 << 45])
def test_a_slot_of_many_more_than_a_tail_comes_out_in_order(now_ms: int) -> None:
    wheel = Wheel(0, tail_max=10)
    due_ms = np.random.default_rng(2).integers(1 << 24, 1 << 25, 5_000)
    keys = np.arange(5_000, dtype=np.int64)
    for start in range(0, 5_000, 50):
        wheel.insert(due_ms[start : start + 50], keys[start : start + 50])
    fired: list[int] = []
    while len(wheel):
        fired += [key for _, key in expire(wheel, now_ms, limit=100)]
        now_ms = max(now_ms, wheel.next_wakeup_ms() or 0)
    assert fired == np.lexsort((keys, due_ms)).tolist()


def test_the_first_millisecond_of_a_slot_precedes_what_came_to_its_tail_later() -> None:
    wheel = Wheel(0, tail_max=1)
    start_ms = 1 << 16
    for key, offset_ms in enumerate([1, 1, 300, 3]):
        insert(wheel, [(start_ms + offset_ms, key)])
    fired = [expire(wheel, 1 << 20, limit=1) for _ in range(4)]
    assert [keys for [(_, keys)] in fired] == [0, 1, 3, 2]


def test_no_slot_is_ever_opened_with_more_than_a_tail_of_timers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved: list[int] = []
    place = Level.place

    def spy(level: Level, due_ms: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        moved.append(len(due_ms))
        place(level, due_ms, keys)

    monkeypatch.setattr(Level, "place", spy)
    wheel = Wheel(0, tail_max=100)
    due_ms = np.random.default_rng(4).integers(1 << 24, (1 << 24) + (1 << 20), 20_000)
    for start in range(0, 20_000, 20):
        wheel.insert(due_ms[start : start + 20], np.arange(start, start + 20))
    while len(wheel):
        expire(wheel, wheel.next_wakeup_ms() or 0)
    assert max(moved) <= 120


def test_a_wheel_is_cut_to_as_many_as_are_wanted() -> None:
    """Half of a million timers go, the later half; those of one millisecond stay together."""
    wheel = Wheel(1_700_000_000_000)
    keys = np.arange(1_000_000, dtype=np.int64)
    wheel.insert(wheel._time_ms + 1 + keys * 7, keys)
    wheel.cut(500_000)
    assert abs(len(wheel) - 500_000) < 20_000
    kept = len(wheel)
    assert [key for _, key in expire(wheel, LAST_MS)] == list(range(kept))


def test_a_cut_does_not_divide_a_millisecond() -> None:
    """Of what is due at one instant, all stay."""
    wheel = Wheel(1_700_000_000_000)
    insert(wheel, [(1_700_000_001_000 + i // 10, i) for i in range(100)])
    assert wheel.cut(3) == 1_700_000_001_001
    assert len(wheel) == 10


def test_an_inserted_batch_is_copied() -> None:
    wheel = Wheel(0)
    due_ms, keys = np.full(20, -5), np.arange(20)
    wheel.insert(due_ms, keys)
    keys[:] = 99
    assert [key for _, key in expire(wheel, 0)] == list(range(20))


def test_other_than_int64_columns_of_equal_length_are_refused() -> None:
    wheel = Wheel(0)
    with pytest.raises(AssertionError):
        wheel.insert(np.array([1, 2]), np.array([1]))
    with pytest.raises(AssertionError):
        wheel.insert(np.array([1.0]), np.array([1.0]))


@pytest.mark.slow
def test_a_pending_timer_takes_at_most_22_bytes() -> None:
    wheel = Wheel(1_700_000_000_000)
    rng = np.random.default_rng(3)
    for start in range(0, 1_000_000, 10_000):
        due_ms = 1_700_000_000_000 + rng.integers(0, 3_600_000, 10_000)
        wheel.insert(due_ms, np.arange(start, start + 10_000))
    assert wheel.nbytes / len(wheel) <= 22


def test_an_empty_wheel_holds_no_timer_memory() -> None:
    wheel = Wheel(0)
    insert(wheel, [(due, due) for due in range(1, 100_000, 97)])
    expire(wheel, 100_000)
    assert (len(wheel), wheel.nbytes, wheel.next_wakeup_ms()) == (0, 0, None)

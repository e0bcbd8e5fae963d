"""The timers of a partition as rows: while a checkpoint is being written, and when few fit into the wheel."""

from __future__ import annotations

import numpy as np

from chronosdb.node.partition.timer_memory import TimerMemory
from chronosdb.node.partition.timers import Timers
from chronosdb.wal import MemoryKV

NOW_MS = 1_900_000_000_000


def listed(timers: Timers) -> list[int]:
    """Every pending offset, as often as it is listed."""
    return [o for due in timers.between(NOW_MS, NOW_MS + 10**6) for o in due.offsets.tolist()]


def test_a_running_checkpoint_shows_every_timer_once() -> None:
    """At every row that has reached the store, and when it has ended: each timer once."""
    store = MemoryKV()
    timers = Timers(store, NOW_MS, TimerMemory())
    first = 0
    for lsn in (100, 200):
        timers.publish(NOW_MS + np.arange(5, dtype=np.int64), first)
        timers.place()
        first += 5
        for row in timers.begin_checkpoint(lsn):
            store.write([row])
            assert sorted(listed(timers)) == list(range(first))
        timers.end_checkpoint()
        assert sorted(listed(timers)) == list(range(first))


def test_a_checkpoint_without_news_hides_nothing() -> None:
    """Saved a second time at one place of the log, the rows of the first time still count."""
    store = MemoryKV()
    timers = Timers(store, NOW_MS, TimerMemory())
    timers.publish(NOW_MS + np.arange(5, dtype=np.int64), 0)
    timers.place()
    for _ in range(2):
        store.write(timers.begin_checkpoint(100))
        assert listed(timers) == list(range(5))
        timers.end_checkpoint()


def some_at_hand() -> tuple[MemoryKV, Timers]:
    """A thousand timers, one a second, of which a wheel may hold 64; saved."""
    store = MemoryKV()
    timers = Timers(store, NOW_MS, TimerMemory(64 * 16))
    timers.publish(NOW_MS + 1000 * np.arange(1, 1001, dtype=np.int64), 0)
    timers.place()
    store.write(timers.begin_checkpoint(100))
    timers.end_checkpoint()
    return store, timers


def fired(timers: Timers) -> list[int]:
    """Offsets as they fire, each when it is due."""
    offsets: list[int] = []
    while (wakeup_ms := timers.next_wakeup_ms()) is not None:
        due = timers.expire(wakeup_ms, 10)
        timers.fire(due.offsets)
        offsets += due.offsets.tolist()
        assert len(timers.wheel) <= 64
    return offsets


def test_the_wheel_holds_no_more_than_its_share() -> None:
    """What does not fit is loaded when its time comes, and nothing is left out."""
    _, timers = some_at_hand()
    assert 0 < len(timers.wheel) <= 64
    assert fired(timers) == list(range(1000))


def test_a_restart_takes_up_what_is_due_next() -> None:
    """However many are pending, only as many are read as the wheel has room for."""
    store, _ = some_at_hand()
    timers = Timers(store, NOW_MS, TimerMemory(64 * 16))
    timers.load()
    timers.fill()
    assert 0 < len(timers.wheel) <= 64
    assert fired(timers) == list(range(1000))


def test_only_minutes_that_are_wholly_at_hand_are_counted() -> None:
    """Of sixty timers a minute it has 32 at hand or a few more: the first twenty seconds, but no minute."""
    _, timers = some_at_hand()
    assert timers.count_due([NOW_MS, NOW_MS + 20_000, NOW_MS + 60_000]) == [19]


def test_a_checkpoint_of_an_empty_wheel_keeps_what_is_beyond_it() -> None:
    """All that was at hand has fired; the rows of the rest are still needed."""
    store, timers = some_at_hand()
    at_hand = len(timers.wheel)
    timers.fire(timers.expire(NOW_MS + 1000 * at_hand, at_hand).offsets)
    assert not timers.wheel
    store.write(timers.begin_checkpoint(200))
    store.delete_range(*timers.stale_rows())
    timers.end_checkpoint()
    assert fired(timers) == list(range(at_hand, 1000))

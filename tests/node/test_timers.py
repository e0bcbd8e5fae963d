"""The timers of a partition as rows, while a checkpoint of them is being written by another thread."""

from __future__ import annotations

import numpy as np

from chronosdb.node.partition.timers import Timers
from chronosdb.wal import MemoryKV

NOW_MS = 1_900_000_000_000


def listed(timers: Timers) -> list[int]:
    """Every pending offset, as often as it is listed."""
    return [o for due in timers.between(NOW_MS, NOW_MS + 10**6) for o in due.offsets.tolist()]


def test_a_running_checkpoint_shows_every_timer_once() -> None:
    """At every row that has reached the store, and when it has ended: each timer once."""
    store = MemoryKV()
    timers = Timers(store, NOW_MS)
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
    timers = Timers(store, NOW_MS)
    timers.publish(NOW_MS + np.arange(5, dtype=np.int64), 0)
    timers.place()
    for _ in range(2):
        store.write(timers.begin_checkpoint(100))
        assert listed(timers) == list(range(5))
        timers.end_checkpoint()

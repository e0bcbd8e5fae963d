"""Histograms against the plain definition, and what is said of the disk they are about."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.node.partition.disk_watch import DiskWatch
from chronosdb.node.partition.histogram import Histogram
from chronosdb.wal import Log

BOUNDS = (1, 5, 20)
VALUES = st.lists(st.integers(-5, 40), max_size=30)


def counted(values: list[int]) -> list[int]:
    """How many values are in each bucket, by definition."""
    edges = [float("-inf"), *BOUNDS, float("inf")]
    return [sum(low < value <= high for value in values) for low, high in pairwise(edges)]


@given(batches=st.lists(VALUES, max_size=4), single=VALUES)
def test_values_are_counted_at_the_first_bound_that_they_do_not_exceed(
    batches: list[list[int]], single: list[int]
) -> None:
    """One by one, in batches of any size, and merged: the same counts and sum."""
    one, other = Histogram(BOUNDS), Histogram(BOUNDS)
    for batch in batches:
        one.add_many(np.array(batch, dtype=np.int64))
    for value in single:
        other.add(value)
    one.merge(other)
    everything = [*single, *(value for batch in batches for value in batch)]
    assert one.counts == counted(everything)
    assert one.total == sum(everything)


class SlowLog:
    """A log whose fsyncs take the time they are told, on a clock of their own."""

    def __init__(self) -> None:
        self.clock_s = 0.0
        self.takes_s = 0.0

    def sync(self) -> None:
        self.clock_s += self.takes_s

    def now_s(self) -> float:
        return self.clock_s


def test_a_slow_disk_is_reported_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Every fsync is timed; those over a second are said, but not over and over."""
    log, timings = SlowLog(), Histogram((1.0,))
    watch = DiskWatch("orders/3", cast("Log", log), timings)
    said = []
    with caplog.at_level(logging.WARNING):
        for takes_s in (0.5, 2.0, 50.0, 9.0, 3.0):
            log.takes_s = takes_s
            caplog.clear()
            watch.sync(log.now_s)
            said.append(caplog.messages)
    assert timings.counts == [1, 4]
    assert [len(messages) for messages in said] == [0, 1, 0, 0, 1]
    assert said[1] == [
        "orders/3: an fsync took 2.0 s; acks wait for it. Is the disk failing, or shared?"
    ]


def test_a_full_disk_is_reported_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Publishers that insist do not fill the log of the process as well."""
    watch = DiskWatch("orders/3", cast("Log", SlowLog()), Histogram((1.0,)))
    with caplog.at_level(logging.INFO):
        watch.stored()
        for _ in range(3):
            watch.full()
        watch.stored()
        watch.stored()
    assert caplog.messages == [
        "orders/3: the disk is full; publishes are refused, the rest goes on in the reserve",
        "orders/3: there is disk space again",
    ]

"""The clock by itself: what it shows, whom it wakes, and how often a decision reads it (I3, I17)."""

from __future__ import annotations

from itertools import count

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.clock import Clock, Signal
from tests.support.in_process import START_MS, broker
from tests.support.partition_log import read_log
from tests.support.raw_client import event


@pytest.mark.parametrize(("wall_ns", "shown_ms"), [(1_999_999, 1), (2_000_000, 2), (2_000_001, 2)])
def test_a_millisecond_is_shown_when_it_has_come(wall_ns: int, shown_ms: int) -> None:
    assert Clock(lambda: wall_ns).now_ms() == shown_ms


async def test_drift_adds_up_until_who_waits_is_woken(clock: MockClock) -> None:
    """A wall clock that gains a millisecond between two looks: each gain alone is below notice."""
    del clock
    gaining = Clock(lambda: round(trio.current_time() * 1.002e9))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gaining.watch_steps)
        signal = Signal()
        while gaining.now_ms() < 100_000:
            await gaining.wait(signal, 100_000)
        late_ms = gaining.now_ms() - 100_000
        nursery.cancel_scope.cancel()
    assert late_ms <= 6


async def test_what_is_due_is_due_at_the_time_of_its_record(clock: MockClock) -> None:
    """Also when the clock goes on between any two readings: a write group is decided by one."""
    async with broker(clock, start=False) as node:
        readings = count()
        node._make_clock = lambda wall: Clock(lambda: wall() + next(readings) * 1_000_000)
        await node.start()
        client = await node.connect()
        await client.create_topic("t")
        first_ms = START_MS + next(readings) + 1000
        await client.publish(*(event(f"e{i}", first_ms + i) for i in range(500)))
        await client.subscribe()
        assert len(await client.events(500)) == 500
        fired = read_log(node.disk).fired
    assert len(fired) == 500
    assert [due_ms for _, due_ms, log_ms in fired if due_ms > log_ms] == []

"""A year of traffic with limits: the log stays small, and every promise holds all year."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from chronosdb.node.partition.retirement import RetentionLimits, may_go
from chronosdb.wal import Point, SegmentInfo
from tests.support.in_process import START_MS, broker
from tests.support.partition_log import open_log
from tests.support.raw_client import event

DAY_MS = 24 * 3_600_000
LEAP_MS = 5 * DAY_MS
LEAPS = 73
FAR = 1000


@pytest.mark.slow
@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("seed", [0])
async def test_a_year_with_a_thousand_events_pending(clock: MockClock, seed: int) -> None:
    """Through restarts, crashes and lost views each fires once, at its time, to a group that acks."""
    rng = Random(seed)
    due = {f"far {n}": rng.randint(5, LEAPS) for n in range(FAR)}
    async with broker(clock, seed=seed, segment_bytes=32 * 1024, idle_timeout_ms=1 << 40) as node:
        client = await node.connect()
        await client.create_topic("t", 1, dedup_window_ms=2 * LEAP_MS, retention_ms=3 * LEAP_MS)
        for name, leap in due.items():
            await client.publish(event(name, START_MS + leap * LEAP_MS - 500, name.encode()))
        await client.subscribe("all")
        arrived: dict[str, int] = {}
        sizes = []
        for leap in range(1, LEAPS + 1):
            for n in range(6):
                await client.publish(event(f"now {leap} {n}", None, b"x" * 2000))
            await node.advance(START_MS + leap * LEAP_MS - 1000 - node.now_ms)
            for delivery in await client.drain(1100):
                assert arrived.setdefault(delivery.message_id, leap) == leap
                if delivery.message_id in due:
                    assert delivery.arrived_ms - delivery.schedule_ts < 100
                assert delivery.payload in {b"x" * 2000, delivery.message_id.encode()}
                await client.ack(delivery)
            sizes.append(sum(s.nbytes for s in open_log(node.disk).segments()))
            if rng.random() < 0.2:
                await (node.crash(rng) if rng.random() < 0.5 else node.stop())
                if rng.random() < 0.5:
                    node.views.discard()
                await node.start()
                await node.wait(50)
                client = await node.connect()
                await client.subscribe("all")
        assert {name: arrived.get(name) for name in due} == due
        assert len(arrived) == FAR + 6 * LEAPS
        # A thousand events of 100 bytes, three leaps of traffic, some segments.
        assert max(sizes) < 400_000
        assert sizes[-1] < 150_000


@st.composite
def logs(draw: st.DrawFn) -> list[SegmentInfo]:
    """Segments of any length and time."""
    point = Point(*(draw(st.integers(0, 50)) for _ in range(4)))
    found = []
    for _ in range(draw(st.integers(1, 6))):
        more = [draw(st.integers(1, 30)) for _ in range(4)]
        after = Point(
            point.lsn + more[0],
            point.offset + more[1],
            point.position + more[2],
            point.ts_ms + more[3],
        )
        found.append(SegmentInfo(point, after))
        point = after
    return found


@settings(max_examples=300)
@given(
    logs(),
    st.builds(RetentionLimits, st.integers(0, 100), st.integers(0, 150)),
    st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300)),
)
def test_only_what_nothing_needs_may_go(
    segments: list[SegmentInfo], limits: RetentionLimits, at: tuple[int, int, int]
) -> None:
    """A prefix of whole segments, never the last, each for a reason; the one behind has none."""
    now_ms, window_lsn, position = at
    gone = may_go(segments, limits, now_ms, window_lsn=window_lsn, position=position)
    assert list(gone) == segments[: len(gone)]
    assert len(gone) < len(segments)

    def may(i: int) -> bool:
        one = segments[i]
        needed = one.end.lsn > window_lsn or one.end.position > position
        old = limits.ms > 0 and one.end.ts_ms + limits.ms <= now_ms
        large = 0 < limits.nbytes < segments[-1].end.lsn - one.start.lsn
        return not needed and (old or large)

    assert all(may(i) for i in range(len(gone)))
    assert len(gone) == len(segments) - 1 or not may(len(gone))

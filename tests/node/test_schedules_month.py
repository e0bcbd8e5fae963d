"""Two months of schedules, through all four clock changes of Paris and New York, on a real node.

What fires is compared with what a wall clock shows that is looked at every minute
(`tests/support/wall_clock_reference.py`), occurrence by occurrence.
"""

from __future__ import annotations

import datetime as dt
from itertools import product
from zoneinfo import ZoneInfo

import pytest
import trio
from trio.testing import MockClock

from chronosdb.wire import messages as m
from tests.support.in_process import Broker, broker
from tests.support.raw_client import RawClient
from tests.support.wall_clock_reference import Times, WallClock

#: Clocks go forward on 10 March in New York and on 31 March in Paris; back on 27 October in Paris and on
#: 3 November in New York.
MONTHS = [("2030-03-06", "2030-04-05"), ("2030-10-10", "2030-11-09")]
ZONES = ("Europe/Paris", "America/New_York")
TIMES = {
    "nightly": Times(frozenset({30}), frozenset({2})),
    "often": Times(frozenset({0, 15, 45}), frozenset({1, 2, 3})),
    "all-day": Times(frozenset({0}), frozenset(range(2, 24, 3))),
}
POLICIES = [("skip", "first"), ("shift", "last"), ("skip", "both")]


@pytest.mark.slow
@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(("first", "last"), MONTHS)
async def test_a_month_fires_as_a_wall_clock_shows(clock: MockClock, first: str, last: str) -> None:
    """Times, zones and policies: each occurrence once, on its millisecond, and nothing else."""
    start, stop = (dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC) for day in (first, last))
    expected: dict[str, list[int]] = {}
    async with broker(clock, start=False) as node:
        node.step_clock(_ms(start) - 1 - node.now_ms)
        await node.start()
        client = await node.connect()
        await client.create_topic("t")
        for zone in ZONES:
            walls = WallClock(ZoneInfo(zone), start, stop)
            for (name, times), (gap, fold) in product(TIMES.items(), POLICIES):
                full_name = f"{name}.{zone.replace('/', '.')}.{gap}.{fold}"
                when = m.Timetable(times.cron, None, zone, gap, fold, None, None, 0)
                await _put(client, full_name, when)
                expected[full_name] = walls.occurrences(times, gap, fold)
        fired = await _fired(node, client, _ms(stop) - 1)
    assert fired == expected


async def _put(client: RawClient, name: str, when: m.Timetable) -> None:
    spec = m.ScheduleSpec("t", b"", None, b"", when, "all")
    await client.call(m.PutSchedule, name, spec, False)


async def _fired(node: Broker, client: RawClient, until_ms: int) -> dict[str, list[int]]:
    """The occurrences of each schedule, as they are delivered."""
    fired: dict[str, list[int]] = {}
    await client.subscribe(credit=1_000_000)
    with trio.move_on_after((until_ms - node.now_ms) / 1000):
        while True:
            delivery = await client.next_event(within_ms=10 * 86_400_000)
            name, _, occurrence = delivery.message_id.split("/")
            assert delivery.arrived_ms == delivery.schedule_ts == int(occurrence)
            fired.setdefault(name, []).append(int(occurrence))
            await client.post_ack(delivery)
    return fired


def _ms(time: dt.datetime) -> int:
    return round(time.timestamp() * 1000)

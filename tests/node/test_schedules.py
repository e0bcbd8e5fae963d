"""Recurring schedules on a real node: each occurrence is one event, through crashes, downtimes and clock steps."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.broker import Broker as NodeBroker
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition.partition import Partition
from chronosdb.node.recurring.schedule import LEAD_MS
from chronosdb.raft import AdvanceSchedules, Command, Result
from chronosdb.wire.errors import Overloaded
from tests.support.in_process import START_MS, topic_broker
from tests.support.schedule_owner import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Owner,
    occurrence,
    occurrences,
    owner,
)


async def test_an_interval_fires_on_the_millisecond(clock: MockClock) -> None:
    """First one interval after it was put, then each interval, with the payload and a telling id."""
    async with owner(clock) as one:
        schedule = await one.put(every_ms=MINUTE_MS, key=b"k")
        got = await one.comes(5 * MINUTE_MS + 500)
        times = [START_MS + n * MINUTE_MS for n in range(1, 6)]
        assert [d.schedule_ts for d in got] == [d.arrived_ms for d in got] == times
        assert {d.payload for d in got} == {b"tick"}
        assert {d.key for d in got} == {b"k"}
        ids = [f"s/{schedule.generation}/{ms}" for ms in times]
        assert [d.message_id for d in got] == ids


@pytest.mark.usefixtures("steady")
async def test_cron_fires_by_the_clock_of_its_zone(clock: MockClock) -> None:
    """Half past eight in Calcutta is three o'clock in UTC."""
    async with owner(clock) as one:
        await one.put(cron="30 8 * * *", tz="Asia/Kolkata")
        [got] = await one.comes(DAY_MS)
        assert got.arrived_ms % DAY_MS == 3 * HOUR_MS


async def test_events_are_made_shortly_before_they_are_due(clock: MockClock) -> None:
    """What lies further ahead than the lead is still open."""
    async with owner(clock) as one:
        schedule = await one.put(every_ms=HOUR_MS)
        first = f"s/{schedule.generation}/{START_MS + HOUR_MS}"
        await one.node.wait(HOUR_MS - LEAD_MS - 1)
        assert (await one.client.get(first)).state == ""
        await one.node.wait(LEAD_MS - 500)
        assert (await one.client.get(first)).state == "pending"


@pytest.mark.parametrize("moment_ms", [0, LEAD_MS // 2, LEAD_MS + 500])
async def test_a_crash_repeats_and_loses_nothing(clock: MockClock, moment_ms: int) -> None:
    """Whatever was made and fired before: each occurrence is stored once and delivered."""
    async with owner(clock) as one:
        await one.put(every_ms=SECOND_MS)
        got = await one.comes(moment_ms + 10 * SECOND_MS)
        await one.crash_and_return(7_300)
        got += await one.comes(10 * SECOND_MS)
        last = occurrence(got[-1])
        assert occurrences(got) == list(range(START_MS + SECOND_MS, last + 1, SECOND_MS))
        assert len({d.offset for d in got}) == len(got)
        assert last > START_MS + moment_ms + 25 * SECOND_MS


@pytest.mark.parametrize("window_ms", [0, 7 * DAY_MS])
@pytest.mark.parametrize("away_ms", [SECOND_MS, 8 * DAY_MS])
async def test_what_was_stored_and_not_noted_is_not_stored_again(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch, away_ms: int, window_ms: int
) -> None:
    """The crash comes between the log and the metadata, and the dedup window passes by meanwhile."""
    submit = Metadata.submit

    async def never_notes(self: Metadata, command: Command) -> Result:
        if isinstance(command, AdvanceSchedules):
            await trio.sleep_forever()
        return await submit(self, command)

    async with owner(clock, topic={"dedup_window_ms": window_ms}) as one:
        await one.put(every_ms=MINUTE_MS, end_ms=START_MS + 3 * MINUTE_MS)
        monkeypatch.setattr(Metadata, "submit", never_notes)
        got = await one.comes(MINUTE_MS)
        monkeypatch.undo()
        await one.crash_and_return(away_ms)
        got += await one.comes(3 * MINUTE_MS)
        assert occurrences(got) == [START_MS + MINUTE_MS, START_MS + 2 * MINUTE_MS]


@pytest.mark.parametrize(
    ("catch_up", "made_up"),
    [("all", 60), ("latest", 1), ("none", 0), (10 * MINUTE_MS, 10), (0, 0), (DAY_MS, 60)],
)
async def test_what_was_missed_is_made_up_by_policy(
    clock: MockClock, catch_up: str | int, made_up: int
) -> None:
    """The node was away for an hour, and a schedule of every minute has 60 occurrences in it."""
    async with owner(clock) as one:
        await one.put(cron="* * * * *", catch_up=catch_up)
        # 20 seconds to the minute: away from every event that might have been made already.
        await one.comes(MINUTE_MS - START_MS % MINUTE_MS + MINUTE_MS - 20 * SECOND_MS)
        before_ms = one.node.now_ms
        await one.crash_and_return(HOUR_MS)
        back_ms = one.node.now_ms
        got = occurrences(await one.comes(2 * MINUTE_MS))
        late = [ms for ms in got if ms <= back_ms]
        newest = back_ms // MINUTE_MS * MINUTE_MS
        assert late == list(range(newest, before_ms, -MINUTE_MS))[:made_up][::-1]
        assert [ms for ms in got if ms > back_ms] == [newest + MINUTE_MS, newest + 2 * MINUTE_MS]


async def test_a_great_backlog_goes_in_pieces_and_holds_up_no_other(clock: MockClock) -> None:
    """An hour of seconds is made up in order, while another schedule stays punctual."""
    async with owner(clock) as one:
        await one.put("busy", cron="* * * * * *", end_ms=START_MS + HOUR_MS)
        await one.put("other", cron="*/10 * * * * *", catch_up="none")
        got = await one.comes(SECOND_MS + 500)
        await one.crash_and_return(HOUR_MS)
        back_ms = one.node.now_ms
        got += await one.comes(30 * SECOND_MS)
        busy = [occurrence(d) for d in got if d.message_id.startswith("busy/")]
        assert busy == list(range(START_MS + SECOND_MS, START_MS + HOUR_MS, SECOND_MS))
        other = [d for d in got if d.message_id.startswith("other/") and occurrence(d) > back_ms]
        assert [d.arrived_ms for d in other] == occurrences(other)
        assert len(other) == 3


async def test_start_and_end_bound_it(clock: MockClock) -> None:
    """The start is the first occurrence of an interval, the end is none."""
    start_ms, end_ms = START_MS + HOUR_MS, START_MS + HOUR_MS + 3 * MINUTE_MS
    async with owner(clock) as one:
        await one.put(every_ms=MINUTE_MS, start_ms=start_ms, end_ms=end_ms)
        got = await one.comes(2 * HOUR_MS)
        assert occurrences(got) == list(range(start_ms, end_ms, MINUTE_MS))
        assert (await one.get()).next_ms is None


async def test_nothing_is_made_up_from_before_it_was_put(clock: MockClock) -> None:
    """A start in the past only places the interval."""
    async with owner(clock) as one:
        await one.put(every_ms=HOUR_MS, start_ms=START_MS - DAY_MS - MINUTE_MS)
        assert occurrences(await one.comes(HOUR_MS)) == [START_MS + HOUR_MS - MINUTE_MS]


async def test_jitter_delays_each_event_and_is_the_same_after_a_crash(clock: MockClock) -> None:
    """Never early, never by more than it says, and not redrawn."""
    async with owner(clock) as one:
        await one.put(cron="* * * * *", jitter_ms=30_000)
        await one.comes(5 * MINUTE_MS)
        await one.crash_and_return(0)
        got = await one.comes(20 * MINUTE_MS)
        delays = [d.schedule_ts - occurrence(d) for d in got]
        assert all(0 <= delay <= 30_000 for delay in delays)
        assert len(set(delays)) > 10


async def test_a_clock_set_forward_is_a_downtime(clock: MockClock) -> None:
    """What lies in between was missed: the policy decides."""
    async with owner(clock) as one:
        await one.put(cron="0 * * * *", catch_up="latest")
        await one.comes(MINUTE_MS)
        one.node.step_clock(DAY_MS)
        got = await one.comes(SECOND_MS)
        assert occurrences(got) == [one.node.now_ms // HOUR_MS * HOUR_MS]


async def test_a_clock_set_back_fires_nothing_twice(clock: MockClock) -> None:
    """What was done is done; it goes on when the clock is there again."""
    async with owner(clock) as one:
        await one.put(every_ms=MINUTE_MS)
        got = await one.comes(10 * MINUTE_MS + 500)
        one.node.step_clock(-5 * MINUTE_MS)
        got += await one.comes(10 * MINUTE_MS)
        assert occurrences(got) == [START_MS + n * MINUTE_MS for n in range(1, 16)]


async def test_many_schedules_share_rounds(clock: MockClock) -> None:
    """A few hundred of them at the same instant all fire at it, over several partitions."""
    async with topic_broker(clock, partitions=3) as (node, client):
        await client.subscribe()
        one = Owner(node, client)
        for n in range(300):
            await one.put(f"s{n}", cron="0 * * * *")
        hour_ms = (START_MS // HOUR_MS + 1) * HOUR_MS
        await node.wait(hour_ms - node.now_ms - SECOND_MS)
        got = await client.drain(2 * SECOND_MS)
        assert {d.arrived_ms for d in got} == {hour_ms}
        assert len({d.message_id for d in got}) == len(got) == 300


async def test_what_is_refused_is_tried_again(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While partitions or the metadata take nothing, events come late; none is lost or doubled."""

    def nothing(*_: object) -> Partition:
        raise Overloaded("busy")

    async def no_change(*_: object) -> Result:
        raise Overloaded("no space")

    async with owner(clock) as one:
        await one.put(every_ms=SECOND_MS)
        got = await one.comes(5 * SECOND_MS)
        with monkeypatch.context() as patch:
            patch.setattr(NodeBroker, "partition", nothing)
            got += await one.comes(10 * SECOND_MS)
        with monkeypatch.context() as patch:
            patch.setattr(Metadata, "change", no_change)
            got += await one.comes(10 * SECOND_MS)
        got += await one.comes(10 * SECOND_MS + 500)
        assert occurrences(got) == [START_MS + n * SECOND_MS for n in range(1, 36)]
        assert len({d.offset for d in got}) == 35
        # Partitions that took nothing made events late; metadata that noted nothing did not.
        late = [d.schedule_ts for d in got if d.arrived_ms > d.schedule_ts]
        assert START_MS + 5 * SECOND_MS < min(late) <= max(late) <= START_MS + 15 * SECOND_MS

"""Recurring schedules on a real node: each occurrence is one event, through crashes, pauses and changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.broker import Broker as NodeBroker
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition import Partition
from chronosdb.node.schedule import LEAD_MS
from chronosdb.raft import AdvanceSchedules, Command, Result
from chronosdb.sched import zones
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument, NotFound, Overloaded
from tests.support.in_process import START_MS, Broker, topic_broker
from tests.support.raw_client import Delivery, RawClient

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def spec(
    *,
    every_ms: int | None = None,
    payload: bytes = b"tick",
    key: bytes | None = None,
    catch_up: str | int = "all",
    **timetable: Any,
) -> m.ScheduleSpec:
    """A schedule of topic "t"."""
    when = {
        "cron": None,
        "every_ms": every_ms,
        "tz": "UTC",
        "gap": "skip",
        "fold": "first",
        "start_ms": None,
        "end_ms": None,
        "jitter_ms": 0,
    }
    return m.ScheduleSpec("t", payload, key, b"", m.Timetable(**when | timetable), catch_up)


@dataclass
class Owner:
    """A client that owns schedules and consumes their events."""

    node: Broker
    client: RawClient

    async def put(self, name: str = "s", *, paused: bool = False, **facts: Any) -> m.Schedule:
        reply = await self.client.call(m.PutSchedule, name, spec(**facts), paused)
        assert isinstance(reply, m.ScheduleReply)
        return reply.schedule

    async def pause(self, name: str = "s", *, paused: bool = True) -> m.Schedule:
        reply = await self.client.call(m.PauseSchedule, name, paused)
        assert isinstance(reply, m.ScheduleReply)
        return reply.schedule

    async def delete(self, name: str = "s") -> None:
        await self.client.call(m.DeleteSchedule, name)

    async def get(self, name: str = "s") -> m.Schedule:
        reply = await self.client.call(m.GetSchedule, name)
        assert isinstance(reply, m.ScheduleReply)
        return reply.schedule

    async def comes(self, ms: int) -> list[Delivery]:
        """What is delivered within this time, acked as it comes; none of it early."""
        found: list[Delivery] = []
        with trio.move_on_after(ms / 1000):
            while True:
                delivery = await self.client.next_event(within_ms=2 * ms)
                assert delivery.sent_ms >= delivery.schedule_ts
                found.append(delivery)
                await self.client.post_ack(delivery)
        return found

    async def subscribe(self) -> None:
        """With credit for all that comes."""
        await self.client.subscribe(credit=100_000)

    async def crash_and_return(self, away_ms: int) -> None:
        await self.node.crash()
        self.node.step_clock(away_ms)
        await self.node.start()
        await self.client.reconnect()
        await self.subscribe()


@asynccontextmanager
async def owner(clock: MockClock, **facts: Any) -> AsyncIterator[Owner]:
    """An owner who consumes topic "t"."""
    async with topic_broker(clock, **facts) as (node, client):
        one = Owner(node, client)
        await one.subscribe()
        yield one


def occurrence(delivery: Delivery) -> int:
    """The moment of the rule that this event stands for."""
    return int(delivery.message_id.rpartition("/")[2])


def occurrences(deliveries: list[Delivery]) -> list[int]:
    return [occurrence(delivery) for delivery in deliveries]


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


async def test_a_pause_stops_what_was_made_already(clock: MockClock) -> None:
    """After the answer nothing fires; resuming goes on from then, with what is still to come."""
    async with owner(clock) as one:
        await one.put(every_ms=SECOND_MS)
        await one.comes(10 * SECOND_MS + 500)
        paused = await one.pause()
        assert (paused.paused, paused.next_ms) == (True, None)
        assert await one.comes(MINUTE_MS) == []
        resumed = await one.pause(paused=False)
        resumed_ms = one.node.now_ms
        assert resumed.next_ms == START_MS + 71 * SECOND_MS
        got = await one.comes(5 * SECOND_MS)
        assert min(occurrences(got)) > resumed_ms
        assert occurrences(got) == [START_MS + n * SECOND_MS for n in range(71, 76)]


async def test_what_a_pause_cancelled_comes_when_it_is_resumed_in_time(clock: MockClock) -> None:
    """The occurrence is two seconds away, was made, cancelled, and is made again."""
    async with owner(clock) as one:
        await one.put(every_ms=MINUTE_MS)
        await one.comes(MINUTE_MS - 2 * SECOND_MS)
        await one.pause()
        await one.pause(paused=False)
        assert occurrences(await one.comes(MINUTE_MS)) == [START_MS + MINUTE_MS]


async def test_a_deleted_schedule_fires_no_more(clock: MockClock) -> None:
    """Neither what was made, nor after a restart; its name is free again."""
    async with owner(clock) as one:
        first = await one.put(every_ms=SECOND_MS)
        await one.comes(3 * SECOND_MS + 500)
        await one.delete()
        with pytest.raises(NotFound):
            await one.get()
        assert await one.comes(10 * SECOND_MS) == []
        await one.crash_and_return(0)
        assert await one.comes(10 * SECOND_MS) == []
        second = await one.put(every_ms=MINUTE_MS)
        assert second.generation > first.generation


async def test_a_changed_schedule_replaces_what_was_made(clock: MockClock) -> None:
    """No occurrence comes in both versions, and none is lost in between."""
    async with owner(clock) as one:
        await one.put(cron="* * * * * *", payload=b"old")
        got = await one.comes(10 * SECOND_MS + 500)
        await one.put(cron="* * * * * *", payload=b"new")
        got += await one.comes(10 * SECOND_MS)
        assert occurrences(got) == [START_MS + n * SECOND_MS for n in range(1, 21)]
        assert [d.payload for d in got] == [b"old"] * 10 + [b"new"] * 10


async def test_an_equal_schedule_put_again_goes_on(clock: MockClock) -> None:
    """A client that missed the answer may repeat itself."""
    async with owner(clock) as one:
        first = await one.put(every_ms=MINUTE_MS)
        got = await one.comes(90 * SECOND_MS)
        assert (await one.put(every_ms=MINUTE_MS)).generation == first.generation
        got += await one.comes(MINUTE_MS)
        assert occurrences(got) == [START_MS + MINUTE_MS, START_MS + 2 * MINUTE_MS]


async def test_a_schedule_may_begin_paused(clock: MockClock) -> None:
    """And runs once it is resumed."""
    async with owner(clock) as one:
        await one.put(every_ms=SECOND_MS, paused=True)
        assert await one.comes(MINUTE_MS) == []
        await one.pause(paused=False)
        assert len(await one.comes(10 * SECOND_MS + 500)) == 10


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


async def test_a_paused_schedule_with_jitter_fires_nothing_more(clock: MockClock) -> None:
    """Events whose occurrence is past and whose jitter is not are cancelled too."""
    async with owner(clock) as one:
        await one.put(cron="* * * * * *", jitter_ms=60_000)
        await one.comes(2 * MINUTE_MS)
        await one.pause()
        assert await one.comes(5 * MINUTE_MS) == []


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
    clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
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
        assert {"schedules wait: busy", "schedules wait: no space"} <= set(caplog.messages)


async def test_a_schedule_whose_zone_is_given_up_stands_still(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node starts, the others go on, and this one can be seen and deleted."""
    async with owner(clock) as one:
        await one.put("lost", cron="* * * * *", tz="Europe/Uzhgorod")
        await one.put("fine", cron="* * * * *", tz="Europe/Kiev")
        monkeypatch.setattr(zones, "zone_names", lambda: frozenset({"Europe/Kiev"}))
        await one.crash_and_return(0)
        got = await one.comes(2 * MINUTE_MS)
        assert {d.message_id.split("/")[0] for d in got} == {"fine"}
        assert (await one.get("lost")).next_ms is None
        await one.delete("lost")


async def test_schedules_go_with_their_topic(clock: MockClock) -> None:
    """Deleting the topic deletes them."""
    async with topic_broker(clock) as (node, client):
        one = Owner(node, client)
        await one.put(every_ms=SECOND_MS)
        await node.wait(3 * SECOND_MS)
        await client.call(m.DeleteTopic, "t")
        with pytest.raises(NotFound):
            await one.get()
        await one.node.wait(MINUTE_MS)


async def test_they_are_listed_in_pages_by_name(clock: MockClock) -> None:
    """Each once, in order."""
    async with owner(clock) as one:
        names = [f"s{n:03}" for n in range(230)]
        for name in names:
            await one.put(name, every_ms=DAY_MS)
        found: list[str] = []
        more = True
        while more:
            page = await one.client.call(m.ListSchedules, found[-1] if found else "")
            found += [schedule.name for schedule in page.schedules]
            more = page.more
        assert found == names


async def test_a_preview_shows_what_will_come(clock: MockClock) -> None:
    """Of a schedule, and of a timetable that nobody has put."""
    async with owner(clock) as one:
        schedule = await one.put(cron="*/5 * * * * *", end_ms=START_MS + 12 * SECOND_MS)
        preview = await one.client.call(m.PreviewSchedule, "s", None, 10)
        same = await one.client.call(m.PreviewSchedule, schedule.spec.timetable, None, 10)
        got = occurrences(await one.comes(MINUTE_MS))
        assert preview.occurrences == same.occurrences == got
        assert len(got) == 2
        later = await one.client.call(m.PreviewSchedule, "s", got[0], 10)
        assert later.occurrences == got[1:]


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({}, "cron expression or an interval"),
        ({"cron": "* * * * *", "every_ms": MINUTE_MS}, "not both"),
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"cron": "0 0 30 2 *"}, "Bad day-of-month"),
        ({"cron": "0 0 */20 * 1L"}, "never occurs"),
        ({"cron": "0 0 * * *", "end_ms": START_MS + 1}, "never occurs"),
        ({"every_ms": 999}, "every is 999 ms"),
        ({"every_ms": MINUTE_MS, "end_ms": START_MS - 1}, "end is"),
        ({"every_ms": MINUTE_MS, "jitter_ms": HOUR_MS + 1}, "jitter is"),
        ({"cron": "0 0 * * *", "tz": "Europe/Atlantis"}, "no time zone 'Europe/Atlantis'"),
        ({"cron": "0 0 * * *", "tz": "../../etc/passwd"}, "no time zone"),
        ({"cron": "0 0 * * *", "gap": "jump"}, "gap is 'jump'"),
        ({"cron": "0 0 * * *", "fold": "none"}, "fold is 'none'"),
        ({"cron": "0 0 * * *", "catch_up": "some"}, "catch_up is 'some'"),
    ],
)
async def test_what_is_no_schedule_is_refused_with_the_reason(
    clock: MockClock, facts: dict[str, Any], complaint: str
) -> None:
    """And leaves nothing behind."""
    async with owner(clock) as one:
        with pytest.raises(InvalidArgument, match=complaint):
            await one.put(**facts)
        assert (await one.client.call(m.ListSchedules, "")).schedules == []


async def test_a_schedule_needs_its_topic(clock: MockClock) -> None:
    """And says so by name."""
    async with owner(clock) as one:
        strayed = m.ScheduleSpec("gone", b"", None, b"", spec(every_ms=SECOND_MS).timetable, "all")
        with pytest.raises(NotFound, match="gone"):
            await one.client.call(m.PutSchedule, "s", strayed, False)

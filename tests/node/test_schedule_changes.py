"""Recurring schedules as their owners handle them: paused, changed, deleted, listed, previewed, refused."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from chronosdb.sched import zones
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument, NotFound
from tests.support.in_process import START_MS, topic_broker
from tests.support.schedule_owner import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Owner,
    occurrences,
    owner,
    spec,
)


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


@pytest.mark.parametrize("change", ["replaced", "paused"])
async def test_what_was_due_before_a_change_comes_although_it_was_late(
    clock: MockClock, change: str
) -> None:
    """Its disk took no events for twenty seconds, and the change comes as soon as there is room again."""
    async with owner(clock, segment_bytes=150_000, disk_reserve_bytes=300 * 1024) as one:
        await one.put(every_ms=SECOND_MS, catch_up="all", payload=bytes(12 * 1024))
        got = await one.comes(2 * SECOND_MS + 500)
        one.node.disk.capacity = one.node.disk.used_bytes + 200 * 1024
        got += await one.comes(20 * SECOND_MS + 300)
        assert len(got) < 15
        one.node.disk.capacity = 1 << 40
        await (one.pause() if change == "paused" else one.put(every_ms=DAY_MS))
        got += await one.comes(30 * SECOND_MS)
        assert occurrences(got) == [START_MS + n * SECOND_MS for n in range(1, 23)]


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


async def test_a_paused_schedule_with_jitter_fires_nothing_more(clock: MockClock) -> None:
    """Events whose occurrence is past and whose jitter is not are cancelled too."""
    async with owner(clock) as one:
        await one.put(cron="* * * * * *", jitter_ms=60_000)
        await one.comes(2 * MINUTE_MS)
        await one.pause()
        assert await one.comes(5 * MINUTE_MS) == []


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

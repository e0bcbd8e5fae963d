"""`db.schedules` against a real node: what is put is what comes back, and what fires."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from trio.testing import MockClock

from chronosdb.client import InvalidArgument, NotFound, Schedule
from tests.support.in_process import START_MS, broker

MINUTE_MS = 60_000


async def test_a_schedule_fires_with_its_payload_key_and_headers(clock: MockClock) -> None:
    """As events like any other."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await db.create_topic("orders", partitions=2)
        schedule = await db.schedules.put(
            "report", "orders", b"daily", every=60, key=b"k", meta={"n": 1}
        )
        async with db.consume("orders", group="g") as events:
            for n in (1, 2):
                event = await anext(aiter(events))
                occurrence = START_MS + n * MINUTE_MS
                assert event.message_id == f"report/{schedule.generation}/{occurrence}"
                assert (event.payload, event.key, event.meta) == (b"daily", b"k", {"n": 1})
                assert (event.schedule_ts, event.lateness_ms) == (occurrence, 0)
                await event.ack()


async def test_what_is_put_comes_back(clock: MockClock) -> None:
    """All that was stated, and what the node knows of it."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await db.create_topic("orders")
        put = await db.schedules.put(
            "s",
            "orders",
            b"\xff",
            cron="30 8 * * MON-FRI",
            tz="Europe/Paris",
            key=b"k",
            meta={"a": None},
            gap="shift",
            fold="both",
            catch_up=1.5,
            jitter=2.5,
            start=dt.datetime(2030, 4, 1, tzinfo=dt.UTC),
            end=START_MS + 10**10,
            paused=True,
        )
        generation = put.generation
        assert put == Schedule(
            name="s",
            topic="orders",
            payload=b"\xff",
            key=b"k",
            meta={"a": None},
            cron="30 8 * * MON-FRI",
            every=None,
            tz="Europe/Paris",
            gap="shift",
            fold="both",
            catch_up=1.5,
            jitter=2.5,
            start_ts=1_901_232_000_000,
            end_ts=START_MS + 10**10,
            paused=True,
            generation=generation,
            put_ts=START_MS,
            next_ts=None,
        )
        assert await db.schedules.get("s") == put
        assert [one async for one in db.schedules.list()] == [put]
        resumed = await db.schedules.resume("s")
        assert (resumed.paused, resumed.next_ts) == (False, 1_901_232_000_000 + 23_400_000)
        assert (await db.schedules.pause("s")).paused
        await db.schedules.delete("s")
        assert [one async for one in db.schedules.list()] == []


async def test_many_are_listed_over_pages(clock: MockClock) -> None:
    """Each once, by name."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await db.create_topic("orders")
        names = [f"s{n:03}" for n in range(205)]
        for name in reversed(names):
            await db.schedules.put(name, "orders", b"", every=3600)
        assert [one.name async for one in db.schedules.list()] == names


async def test_a_preview_of_a_rule_needs_no_schedule(clock: MockClock) -> None:
    """Clocks in Paris go forward on 31 March 2030."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        night = dt.datetime(2030, 3, 30, 12, tzinfo=dt.UTC)
        rule: dict[str, Any] = {"cron": "30 2 * * *", "tz": "Europe/Paris", "after": night}
        skipped = await db.schedules.preview(**rule, count=2)
        shifted = await db.schedules.preview(**rule, gap="shift", count=2)
        assert skipped == [1_901_233_800_000, 1_901_320_200_000]
        assert shifted == [1_901_151_000_000, 1_901_233_800_000]
        assert await db.schedules.preview(every=60, count=1) == [START_MS + MINUTE_MS]


@pytest.mark.parametrize(
    "facts",
    [
        {"name": "x" * 81},
        {"name": "no/slash"},
        {"topic": ""},
        {"payload": "text"},
        {"payload": bytes(16_385)},
        {"cron": "* " * 200},
        {"every": -1},
        {"jitter": float("nan")},
        {"catch_up": "some"},
        {"catch_up": -1},
        {"key": b""},
        {"meta": {"k": object()}},
        {"meta": {"k": "v" * 4096}},
    ],
)
async def test_a_bad_argument_is_refused_before_it_is_sent(
    clock: MockClock, facts: dict[str, Any]
) -> None:
    """An error of this call only: the connection is as good as before."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await db.create_topic("orders")
        good: dict[str, Any] = {"name": "s", "topic": "orders", "payload": b"", "every": 60}
        with pytest.raises(InvalidArgument):
            await db.schedules.put(**good | facts)
        await db.schedules.put(**good)


async def test_wrong_calls_are_type_errors(clock: MockClock) -> None:
    """A naive time, a name with a rule, and neither."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        naive = dt.datetime(2030, 1, 1)  # noqa: DTZ001 - the point
        with pytest.raises(TypeError, match="naive"):
            await db.schedules.put("s", "orders", b"", every=60, start=naive)
        with pytest.raises(TypeError, match="not both"):
            await db.schedules.preview()
        with pytest.raises(TypeError, match="not both"):
            await db.schedules.preview("s", every=60)


async def test_what_is_not_there_is_not_found(clock: MockClock) -> None:
    """Whatever is asked of it."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        schedules = db.schedules
        for ask in (schedules.get, schedules.pause, schedules.resume, schedules.delete):
            with pytest.raises(NotFound, match="no schedule 's'"):
                await ask("s")
        with pytest.raises(NotFound, match="no schedule 's'"):
            await schedules.preview("s")

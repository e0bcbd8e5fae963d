"""Someone who owns recurring schedules of topic "t" on a real node, and consumes their events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from trio.testing import MockClock

from chronosdb.wire import messages as m
from tests.support.in_process import Broker, topic_broker
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

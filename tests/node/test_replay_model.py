"""Replays against a model: whatever happened to the events, each order gives each of them once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from chronosdb.client import Client, Event, Replay, ReplayedEvent
from chronosdb.node.replay import gather, schedule
from tests.support.in_process import Broker, broker

PARTITIONS = 2
SOON_MS = 300
KEYS = (None, b"k", b"other")


@dataclass
class Known:
    """What the model knows of an event."""

    message_id: str
    partition: int
    offset: int
    key: bytes | None
    published_ts: int
    #: As published.
    first_due: int
    due: int
    cancelled: bool = False
    position: int | None = None
    fired_ts: int | None = None


class Seen(NamedTuple):
    """What of a replayed event must be right."""

    message_id: str
    partition: int
    offset: int
    schedule_ts: int
    published_ts: int
    position: int | None
    fired_ts: int | None


def seen(event: ReplayedEvent) -> Seen:
    assert event.payload == event.message_id.encode()
    return Seen(
        event.message_id,
        event.partition,
        event.offset,
        event.schedule_ts,
        event.published_ts,
        event.position,
        event.fired_ts,
    )


class Story:
    """Random things that happen to events, and the model that follows them."""

    def __init__(self, node: Broker, db: Client, seed: int) -> None:
        self._node = node
        self._db = db
        self._random = Random(seed)
        self.known: dict[str, Known] = {}

    async def happen(self, steps: int) -> None:
        """Publish, reschedule, cancel, let time pass; a consumer notes what fires."""
        acts = (self._publish, self._publish, self._move, self._cancel, self._wait)
        async with self._db.consume("t", group="witness") as fired, trio.open_nursery() as nursery:
            nursery.start_soon(self._note, fired)
            for _ in range(steps):
                await self._random.choice(acts)()
            # All but what is far away: nothing fires after this.
            await self._node.wait(SOON_MS + 1)
            nursery.cancel_scope.cancel()

    async def _note(self, fired: object) -> None:
        async for event in fired:  # type: ignore[attr-defined]
            known = self.known[event.message_id]
            if known.position is None:
                known.position, known.fired_ts = event.position, self._node.now_ms
                known.due = event.schedule_ts
            await event.ack()

    async def _publish(self) -> None:
        """A batch; due times repeat, so that ties occur."""
        now_ms = self._node.now_ms
        events: list[Event] = []
        for _ in range(self._random.randint(1, 6)):
            message_id = f"e{len(self.known) + len(events)}"
            due = now_ms + self._random.choice((-50, 0, 1, 5, 5, 20, SOON_MS, 100_000))
            key = self._random.choice(KEYS)
            events.append(
                Event(payload=message_id.encode(), message_id=message_id, schedule_ts=due, key=key)
            )
        # What is due already may be delivered before the answer is here.
        for event in events:
            assert event.message_id is not None
            assert event.schedule_ts is not None
            due = event.schedule_ts
            self.known[event.message_id] = Known(
                event.message_id, -1, -1, event.key, now_ms, due, due
            )
        for result in await self._db.publish_many("t", events):
            known = self.known[result.message_id]
            known.partition, known.offset = result.partition, result.offset

    async def _move(self) -> None:
        known = self._any()
        if known is not None:
            due = self._random.choice((known.first_due, known.due, self._node.now_ms + 7))
            result = await self._db.reschedule("t", known.message_id, at=due, key=known.key)
            if result.outcome == "rescheduled":
                known.due = due

    async def _cancel(self) -> None:
        known = self._any()
        if known is not None and self._random.random() < 0.5:
            result = await self._db.cancel("t", known.message_id, key=known.key)
            known.cancelled = result.outcome == "cancelled"

    async def _wait(self) -> None:
        await self._node.wait(self._random.choice((1, 3, 10, 200)))

    def _any(self) -> Known | None:
        return self._random.choice(list(self.known.values())) if self.known else None


Order = Callable[[Known], tuple[int, ...]]
ORDERS: dict[str, tuple[Callable[[Known], bool], Callable[[Known], int], Order]] = {
    "offset": (lambda _: True, lambda k: k.offset, lambda k: (k.partition, k.offset)),
    "published": (
        lambda _: True,
        lambda k: k.published_ts,
        lambda k: (k.published_ts, k.partition, k.offset),
    ),
    "scheduled": (
        lambda k: not k.cancelled,
        lambda k: k.due,
        lambda k: (k.due, k.partition, k.offset),
    ),
    "fired": (
        lambda k: k.position is not None,
        lambda k: k.fired_ts or 0,
        lambda k: (k.fired_ts or 0, k.partition, k.position or 0),
    ),
}


def expected(
    known: dict[str, Known], by: str, start: int | None, end: int | None, key: bytes | None
) -> list[Seen]:
    """What a replay must give."""
    belongs, place, order = ORDERS[by]
    chosen = [
        k
        for k in known.values()
        if belongs(k)
        and (start is None or place(k) >= start)
        and (end is None or place(k) < end)
        and (key is None or k.key == key)
    ]
    fired = by == "fired"
    return [
        Seen(
            k.message_id,
            k.partition,
            k.offset,
            k.due if by in {"scheduled", "fired"} else k.first_due,
            k.published_ts,
            k.position if fired else None,
            k.fired_ts if fired else None,
        )
        for k in sorted(chosen, key=order)
    ]


def bounds(known: dict[str, Known], by: str, random: Random) -> tuple[int | None, int | None]:
    """A range with ends at or beside events."""
    places = [ORDERS[by][1](k) + random.choice((-1, 0, 1)) for k in known.values()]
    pick = [None, *(max(0, place) for place in places)]
    return random.choice(pick), random.choice(pick)


async def all_of(replay: Replay) -> list[ReplayedEvent]:
    return [event async for event in replay]


async def check(clock: MockClock, seed: int) -> None:
    """A story, and then replays in every order."""
    random = Random(seed)
    async with broker(clock, seed=seed) as node, node.library(timeout_s=60) as db:
        await db.create_topic("t", partitions=PARTITIONS)
        story = Story(node, db, seed)
        await story.happen(random.randint(1, 40))
        if random.random() < 0.5:
            await node.restart()
        for by in ORDERS:
            for _ in range(3):
                start, end = bounds(story.known, by, random)
                key = random.choice(KEYS)
                replay = db.replay("t", by=by, start=start, end=end, key=key)
                events = await all_of(replay)
                assert [seen(e) for e in events] == expected(story.known, by, start, end, key)
                if events:
                    at = random.randrange(len(events))
                    token = events[at].token
                    rest = db.replay("t", by=by, start=start, end=end, key=key, token=token)
                    assert [seen(e) async for e in rest] == [seen(e) for e in events[at + 1 :]]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_order_gives_each_event_of_the_range_once(seed: int) -> None:
    """I12: exactly the range, in order, whatever was fired, moved or cancelled, also after a restart."""
    clock = MockClock(autojump_threshold=0)
    trio.run(check, clock, seed, clock=clock)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_same_with_windows_and_pages_of_a_few_events(seed: int) -> None:
    """Selection in many passes, and pages that are tried again with fewer, change nothing."""
    clock = MockClock(autojump_threshold=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "_WINDOW", 3)
        patch.setattr(schedule, "_PIECES", 2)
        patch.setattr(schedule, "_STRETCH_BYTES", 200)
        patch.setattr(gather, "_PAGE_EVENTS", 3)
        patch.setattr(gather, "_HOARD_BYTES", 150)
        trio.run(check, clock, seed, clock=clock)

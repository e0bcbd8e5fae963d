"""What a publishing client process does."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import anyio

from bench.errors import BenchError
from bench.lab import WORK_S_MAX
from bench.load import HOUR_MS, Load, now_ms, payload
from bench.stopwatch import Spent, Stopwatch
from chronosdb.client import Client, Event, connect


async def publish(address: str, load: Load) -> Spent:
    """Publish all of `load` to its topic, made if missing; measured from the first send to the last ack."""
    async with connect(address, timeout=60) as db:
        await _make(db, load)
        batches = load.batches()
        watch = Stopwatch()
        async with anyio.create_task_group() as callers:
            for _ in range(load.callers):
                callers.start_soon(_publish_batches, db, load, batches)
        return watch.spent()


async def make_topic(address: str, load: Load) -> Spent:
    """Make the topic of a load; measured from the request until the node has made it."""
    async with connect(address, timeout=WORK_S_MAX) as db:
        watch = Stopwatch()
        await _make(db, load)
        return watch.spent()


async def _make(db: Client, load: Load) -> None:
    await db.create_topic(load.topic, load.partitions, replication=load.copies, acks=load.acks)


async def _publish_batches(db: Client, load: Load, batches: Iterator[list[Event]]) -> None:
    for events in batches:
        if load.batch > 1:
            await db.publish_many(load.topic, events)
        else:
            # Who has single events does not make lists of them.
            (one,) = events
            await db.publish(load.topic, one.payload, message_id=one.message_id, at=one.schedule_ts)


@dataclass(frozen=True, slots=True)
class Singles:
    """Events published one by one. The three columns are epoch ns, one entry per event."""

    #: When it was to be published; without a rate, when it was.
    asked_ns: array[int] = field(default_factory=lambda: array("q"))
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    acked_ns: array[int] = field(default_factory=lambda: array("q"))

    def note(self, asked_ns: int, sent_ns: int, acked_ns: int) -> None:
        """One more event."""
        self.asked_ns.append(asked_ns)
        self.sent_ns.append(sent_ns)
        self.acked_ns.append(acked_ns)

    def check(self) -> None:
        """Events were published.

        Raises:
            BenchError: the time was over before the client was ready.
        """
        if not self.acked_ns:
            raise BenchError("the client was ready too late to publish anything: try again")

    def ack_ms(self) -> list[float]:
        """From each send to its ack."""
        return _differences_ms(self.sent_ns, self.acked_ns)

    def open_ms(self) -> list[float]:
        """From each moment asked for to the ack: what waited for a free caller waited too."""
        return _differences_ms(self.asked_ns, self.acked_ns)

    def per_second(self) -> float:
        """Events acked per second, over the whole time."""
        return len(self.acked_ns) * 1e9 / (max(self.acked_ns) - min(self.asked_ns))


@dataclass(frozen=True, slots=True)
class Pace:
    """When single events are published."""

    #: From here on, epoch ms, and for so long.
    start_ms: int
    seconds: float
    #: Events a second. None: as many as go.
    rate: int | None

    def turns_ns(self) -> Iterator[int]:
        """The moments, epoch ns, at which an event is asked for; no more once the time is over."""
        start_ns = self.start_ms * 1_000_000
        end_ns = start_ns + int(self.seconds * 1e9)
        free = iter(time.time_ns, None)
        turns_ns = free if self.rate is None else count(start_ns, 1_000_000_000 // self.rate)
        for turn_ns in turns_ns:
            if max(turn_ns, time.time_ns()) >= end_ns:
                return
            yield turn_ns


async def publish_singles(address: str, topic: str, callers: int, pace: Pace) -> Singles:
    """Publish single events; whichever caller is free takes the next. All share one connection."""
    singles = Singles()
    async with connect(address) as db:
        if topic not in {known.name for known in await db.topics()}:
            await db.create_topic(topic)
        await anyio.sleep(max(0, pace.start_ms - now_ms()) / 1000)
        turns = pace.turns_ns()
        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(_publish_singles, db, topic, turns, singles)
    singles.check()
    return singles


async def _publish_singles(db: Client, topic: str, turns: Iterator[int], singles: Singles) -> None:
    for asked_ns in turns:
        wait_ns = asked_ns - time.time_ns()
        if wait_ns > 0:
            await anyio.sleep(wait_ns / 1e9)
        sent_ns = time.time_ns()
        body = payload(sent_ns // 1_000_000)
        await db.publish(topic, body, at=now_ms() + HOUR_MS)
        singles.note(asked_ns, sent_ns, time.time_ns())


def _differences_ms(from_ns: array[int], to_ns: array[int]) -> list[float]:
    return [(stop - start) / 1e6 for start, stop in zip(from_ns, to_ns, strict=True)]

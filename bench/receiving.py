"""What a consuming client process does. Acks travel in the background, bounded by the credits."""

from __future__ import annotations

import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import anyio
from anyio.abc import TaskGroup

from bench.errors import BenchError
from bench.stopwatch import Spent, Stopwatch
from chronosdb.client import Client, DeliveryBatch, connect

#: Deliveries that may be on their way to the consumer or unacked, and in one of its batches.
CREDITS: Final = 20_000
BATCH_EVENTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Receipts:
    """When events came. Columns with one entry per event, in order of receipt."""

    received_ns: array[int] = field(default_factory=lambda: array("q"))
    due_ms: array[int] = field(default_factory=lambda: array("q"))
    #: What the node says: from the due time until it sent the event.
    lateness_ms: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))

    def note(self, received_ns: int, batch: DeliveryBatch) -> None:
        """One more batch."""
        for event in batch:
            self.received_ns.append(received_ns)
            self.due_ms.append(event.schedule_ts)
            self.lateness_ms.append(event.lateness_ms)
            self.offsets.append(event.offset)

    def late_ms(self) -> list[float]:
        """From each due time to the receipt, on the clock of this machine."""
        return [
            (received_ns - due_ms * 1_000_000) / 1e6
            for received_ns, due_ms in zip(self.received_ns, self.due_ms, strict=True)
        ]

    def check(self, expected: int) -> None:
        """Each event came, once, and not early.

        Raises:
            BenchError: a promise was broken, so that the figures would mean nothing.
        """
        distinct = len(set(self.offsets))
        early = sum(late_ms < 0 for late_ms in self.late_ms())
        if distinct != expected or len(self.offsets) != distinct or early:
            twice = len(self.offsets) - distinct
            raise BenchError(
                f"of {expected} events {expected - distinct} did not come,"
                f" {twice} came twice, {early} came early"
            )


@asynccontextmanager
async def _batches(
    db: Client, topic: str, group: str
) -> AsyncIterator[AsyncIterator[DeliveryBatch]]:
    async with db.consume(topic, group=group, credits=CREDITS) as events:
        yield events.batches(BATCH_EVENTS)


async def receive(address: str, topic: str, count: int, until_ms: int) -> Receipts:
    """Record the next `count` events of `topic`, or as many as come before `until_ms`."""
    receipts = Receipts()
    timeout_s = until_ms / 1000 - time.time()
    async with connect(address) as db:
        await db.create_topic(topic)
        async with _batches(db, topic, "bench") as batches, anyio.create_task_group() as acks:
            with anyio.move_on_after(timeout_s):
                async for batch in batches:
                    receipts.note(time.time_ns(), batch)
                    acks.start_soon(batch.ack)
                    if len(receipts.offsets) >= count:
                        break
    return receipts


class Handling(Enum):
    """What the draining application does with each event, and when it acks."""

    #: Counts; acks in the background.
    COUNT = "count"
    #: Counts; the next batch waits for the ack.
    AWAIT = "await"
    #: Reads id and payload; acks in the background.
    READ = "read"


async def drain(address: str, topic: str, group: str, count: int, handling: Handling) -> Spent:
    """Consume a backlog of `count` fired events; measured from subscribing to the last durable ack."""
    async with connect(address, timeout=60) as db:
        watch = Stopwatch()
        async with _batches(db, topic, group) as batches:
            async with anyio.create_task_group() as acks:
                await _drain(batches, count, handling, acks)
            return watch.spent()


async def _drain(
    batches: AsyncIterator[DeliveryBatch], count: int, handling: Handling, acks: TaskGroup
) -> None:
    async for batch in batches:
        if handling is Handling.AWAIT:
            await batch.ack()
        else:
            acks.start_soon(batch.ack)
        if handling is Handling.READ:
            _read(batch)
        count -= len(batch)
        if count <= 0:
            return


def _read(batch: DeliveryBatch) -> None:
    """Look at each event, as a handler would."""
    for event in batch:
        assert event.message_id, "an id is never empty"
        assert event.payload, "a payload is never empty here"


async def replay(address: str, topic: str, order: str, count: int) -> Spent:
    """Read every event of a topic; measured from the request to the last event.

    Raises:
        BenchError: there were not `count` events.
    """
    async with connect(address, timeout=60) as db:
        watch = Stopwatch()
        seen = 0
        async for event in db.replay(topic, by=order):
            assert event.payload, "a payload is never empty here"
            seen += 1
        if seen != count:
            raise BenchError(f"a replay by {order} gave {seen} of {count} events")
        return watch.spent()


async def until_state(address: str, topic: str, message_ids: list[str], state: str) -> None:
    """Return when all of these events are stored, and in this state.

    Raises:
        BenchError: one is not there.
    """
    async with connect(address, timeout=60) as db:
        for message_id in message_ids:
            # The node does not tell when something fires; one has to ask.
            while await _state(db, topic, message_id) != state:  # noqa: ASYNC110
                await anyio.sleep(0.01)


async def _state(db: Client, topic: str, message_id: str) -> str:
    event = await db.get(topic, message_id)
    if event is None:
        raise BenchError(f"{message_id} was acked and is not there")
    return event.state

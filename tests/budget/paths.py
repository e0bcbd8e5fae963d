"""The hot paths, each run a few times on a node in this process, and counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import trio
from trio.testing import MockClock

from chronosdb.client import Client, Event
from tests.budget.counting import Instructions
from tests.support.in_process import Broker, broker

_PAYLOAD: Final = b"x" * 256
_HOUR_MS: Final = 3_600_000
_BATCH: Final = 1000
_CALLERS: Final = 64
#: Each path is run so often before it is counted: connections and caches are there then.
_WARM: Final = 2
_COUNTED: Final = 3

#: Runs once; how many events that were.
Path: TypeAlias = Callable[[Broker, Client], Awaitable[int]]


class HotPath(NamedTuple):
    """A path, and what is made ready before each run of it, uncounted."""

    run: Path
    prepare: Path | None = None


async def _publish_one(node: Broker, db: Client) -> int:
    await db.publish("t", _PAYLOAD, at=node.now_ms + _HOUR_MS)
    return 1


async def _publish_by_many(node: Broker, db: Client) -> int:
    async with trio.open_nursery() as callers:
        for _ in range(_CALLERS):
            callers.start_soon(partial(db.publish, "t", _PAYLOAD, at=node.now_ms + _HOUR_MS))
    return _CALLERS


async def _publish_apart(node: Broker, db: Client) -> int:
    """A request each, as of many clients: only the node can join them."""
    async with trio.open_nursery() as callers:
        for one in _events(node.now_ms + _HOUR_MS, count=_CALLERS):
            callers.start_soon(db.publish_many, "t", [one])
    return _CALLERS


async def _publish_batch(node: Broker, db: Client) -> int:
    await db.publish_many("t", _events(node.now_ms + _HOUR_MS))
    return _BATCH


async def _publish_scattered(node: Broker, db: Client) -> int:
    """Due at many times: the delivery order is not that of the log."""
    await db.publish_many("t", _events(node.now_ms + 1000, every=7))
    await node.advance(2000)
    return _BATCH


async def _publish_due(_: Broker, db: Client) -> int:
    await db.publish_many("t", _events(None))
    return _BATCH


async def _consume(_: Broker, db: Client) -> int:
    return await _drain(db, read=False)


async def _consume_reading(_: Broker, db: Client) -> int:
    return await _drain(db, read=True)


#: By name; the order is that of the table.
PATHS: Final[dict[str, HotPath]] = {
    "publish, one caller": HotPath(_publish_one),
    "publish, 64 callers at once": HotPath(_publish_by_many),
    "publish_many, 1 event, 64 callers at once": HotPath(_publish_apart),
    "publish_many, 1,000 events": HotPath(_publish_batch),
    "deliver and ack, in the log's order": HotPath(_consume, _publish_due),
    "deliver and ack, in another order": HotPath(_consume, _publish_scattered),
    "the same, reading id and payload": HotPath(_consume_reading, _publish_scattered),
}


def instructions(name: str) -> dict[str, float]:
    """What one event of this path costs, by part of the system."""
    clock = MockClock(autojump_threshold=0)
    return trio.run(_count, clock, PATHS[name], clock=clock)


async def _count(clock: MockClock, path: HotPath) -> dict[str, float]:
    events = 0
    counted = Instructions()
    async with broker(clock) as node, node.library() as db:
        await db.create_topic("t")
        for turn in range(_WARM + _COUNTED):
            if path.prepare is not None:
                await path.prepare(node, db)
            if turn < _WARM:
                await path.run(node, db)
                continue
            with counted:
                events += await path.run(node, db)
    return {part: count / events for part, count in counted.by_part().items()}


def _events(due_ms: int | None, every: int = 1, count: int = _BATCH) -> list[Event]:
    return [
        Event(payload=_PAYLOAD, schedule_ts=due_ms and due_ms + i % every) for i in range(count)
    ]


async def _drain(db: Client, *, read: bool) -> int:
    count = 0
    async with db.consume("t", group="g", credits=2 * _BATCH) as events:
        async for batch in events.batches(_BATCH):
            for event in batch if read else ():
                assert event.message_id, "an id is never empty"
                assert event.payload, "nor is a payload here"
            count += len(batch)
            await batch.ack()
            if count == _BATCH:
                return count
    raise AssertionError("a subscription ends only when it is left")

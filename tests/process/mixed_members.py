"""Those of the mixed load who consume: steady, ordered and shared groups, with members of every kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import count
from random import Random
from typing import Final

import trio

from chronosdb.client import ChronosError, LeaseLost
from tests.process.mixed_work import POISON
from tests.process.mixed_world import ORDERED, SHARED, STEADY, TOPIC, World
from tests.proof.recorded_subscription import (
    RecordedBatch,
    RecordedDelivery,
    RecordedSubscription,
)

#: Longer than the node's ack timeout.
SLOW_S: Final = 2.5
_PAUSE_S: Final = 0.2

Handle = Callable[[RecordedBatch], Awaitable[None]]


async def steady(
    world: World, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """The one member of its group; it rides through everything on one client."""
    async with (
        world.client("steady") as db,
        db.consume(TOPIC, group=STEADY, credits=5000) as events,
    ):
        task_status.started()
        async for batch in events.batches(500):
            await _settled(world, batch)


async def ordered(world: World, number: int) -> None:
    """Members of the ordered group, one after the other."""
    chance = world.chance(f"ordered {number}")

    async def handle(batch: RecordedBatch) -> None:
        if chance.random() < 0.02:
            with suppress(LeaseLost):
                await batch[0].nack(delay=chance.uniform(0, 0.5))
        await _settled(world, batch)

    await _members(world, f"ordered {number}", ORDERED, chance, handle)


async def shared(world: World, number: int) -> None:
    """Members of the shared group: some slow, some who refuse."""
    chance = world.chance(f"shared {number}")
    handle = partial(_handle_shared, world, chance)
    await _members(world, f"shared {number}", SHARED, chance, handle)


async def _members(world: World, name: str, group: str, chance: Random, handle: Handle) -> None:
    """Join, work for a while, leave or vanish, again and again."""
    mode = "shared" if group == SHARED else "ordered"
    for life in count(1):
        member = f"{name}.{life}"
        try:
            async with (
                world.line(member) as (db, cut),
                db.consume(
                    TOPIC, group=group, mode=mode, credits=chance.choice((50, 300, 2000))
                ) as events,
            ):
                with trio.move_on_after(chance.uniform(3, 20)):
                    await _work(events, handle)
                if chance.random() < 0.5:
                    cut()
        except* ChronosError as errors:
            for error in errors.exceptions:
                world.counts[f"{name.split(maxsplit=1)[0]}: {type(error).__name__}"] += 1
        await trio.sleep(chance.uniform(0, _PAUSE_S))


async def _work(events: RecordedSubscription, handle: Handle) -> None:
    async for batch in events.batches(300):
        await handle(batch)


async def _handle_shared(world: World, chance: Random, batch: RecordedBatch) -> None:
    kind = chance.random()
    if any(one.event.payload.startswith(POISON) for one in batch):
        await _one_by_one(world, chance, batch)
    elif kind < 0.01:
        await trio.sleep(SLOW_S)  # an ack that comes after the timeout counts too
        await _settled(world, batch)
    elif kind < 0.02:
        with suppress(LeaseLost):
            await batch[0].extend(SLOW_S + 1)
        await trio.sleep(SLOW_S)
        await _settled(world, batch)
    elif kind < 0.05:
        await _one_by_one(world, chance, batch)
    else:
        await _settled(world, batch)


async def _one_by_one(world: World, chance: Random, batch: RecordedBatch) -> None:
    """Each event by itself, all at once: some are refused, the poisoned ones always."""
    async with trio.open_nursery() as nursery:
        for one in batch:
            redriven = one.event.message_id.startswith("redrive-")
            poisoned = one.event.payload.startswith(POISON) and not redriven
            if poisoned or chance.random() < 0.05:
                nursery.start_soon(_refused, one, chance.uniform(0, 0.3))
            else:
                nursery.start_soon(one.ack)
    world.counts["acked"] += len(batch)


async def _refused(one: RecordedDelivery, delay_s: float) -> None:
    with suppress(LeaseLost):
        await one.nack(delay=delay_s, reason="not now")


async def _settled(world: World, batch: RecordedBatch) -> None:
    await batch.ack()
    world.counts["acked"] += len(batch)

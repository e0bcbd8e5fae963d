"""Those of the mixed load who publish, who change what is pending, and who replay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Final

import msgspec
import trio

from chronosdb.client import ChronosError, Conflict, Event
from tests.process.mixed_world import PARTITIONS, TOPIC, World, now_ms
from tests.proof.recorded import Recorded

#: Events whose payload begins so are refused by the shared group until they are dead letters.
POISON: Final = b"poison"
#: As many in a second at any rate: each takes five attempts, and its batch is settled one by one.
_POISON_PER_S: Final = 0.5
_POISON_MAX: Final = 0.0005
#: What was held up for so long is made up for.
_MADE_UP_S: Final = 5.0
#: Due so far away that they stay pending to the end of any run.
FAR_MS: Final = 86_400_000
#: How far back a replay reaches: what it reads is recorded, and compared.
REPLAY_MS: Final = 8_000
REPLAY_OFFSETS: Final = 5_000
_ORDERS: Final = ("offset", "published", "fired", "scheduled")


class Publisher:
    """Publishes events with ids of their own, and most of what got no answer once more.

    After an outage it goes faster, until it has made up for it: users do not wait either.
    """

    def __init__(self, world: World, name: str, events_per_s: float, batch_max: int) -> None:
        self.name = name
        self._world = world
        self._rate = events_per_s
        self._batch_max = batch_max
        self._poison = min(_POISON_MAX, _POISON_PER_S / events_per_s)
        #: When the next batch is due.
        self._next_s = -math.inf
        self._chance = world.chance(name)
        self._serial = count()
        #: Published without an answer; to be published again.
        self._again: list[Event] = []

    async def step(self, db: Recorded) -> None:
        """One batch, and the pause that keeps the rate."""
        chance = self._chance
        self._next_s = max(self._next_s, trio.current_time() - _MADE_UP_S)
        batch = self._again or [self._event() for _ in range(chance.randint(1, self._batch_max))]
        self._again = []
        self._world.pool.extend(batch)
        try:
            await db.publish_many(TOPIC, batch)
        except ChronosError:
            if chance.random() < 0.7:
                self._again = batch
            raise
        self._world.counts["published"] += len(batch)
        self._next_s += len(batch) / self._rate
        await trio.sleep_until(self._next_s)

    def _event(self) -> Event:
        chance, number = self._chance, next(self._serial)
        due_ms = due_time(chance, self._world.horizon_ms)
        poison = POISON if chance.random() < self._poison else b""
        return Event(
            payload=poison + chance.randbytes(chance.randint(0, 160)),
            message_id=f"{self.name}-{number}",
            key=b"k%d" % chance.randrange(50) if chance.random() < 0.3 else None,
            meta={"number": number} if chance.random() < 0.1 else {},
            schedule_ts=due_ms,
            relative=due_ms is None or chance.random() < 0.1,
            expires_ts=expiry(chance, due_ms),
        )


def due_time(chance: Random, horizon_ms: int) -> int | None:
    """Now, past, soon, within the horizon, or after the end of the run."""
    kind = chance.random()
    if kind < 0.1:
        return None
    if kind < 0.2:
        return now_ms() - chance.randint(0, 10_000)
    if kind < 0.85:
        return now_ms() + chance.randint(0, 3000)
    if kind < 0.99:
        return now_ms() + chance.randint(3000, horizon_ms)
    return now_ms() + FAR_MS + chance.randint(0, FAR_MS)


def expiry(chance: Random, due_ms: int | None) -> int | None:
    """Some events are good for a few seconds only, from when they are due."""
    if chance.random() >= 0.05:
        return None
    return max(due_ms or 0, now_ms()) + chance.randint(1, 6000)


class Repeater:
    """Publishes again what was published, answered or not; now and then with other bytes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance("repeater")

    async def step(self, db: Recorded) -> None:
        """A few duplicates, or one that is none."""
        chance, pool = self._chance, self._world.pool
        await trio.sleep(chance.uniform(0, 0.4))
        if not pool:
            return
        if chance.random() < 0.1:
            other = msgspec.structs.replace(chance.choice(pool), payload=b"other content")
            try:
                await db.publish_many(TOPIC, [other])
            except Conflict:
                self._world.counts["conflicts"] += 1
        else:
            events = {one.message_id: one for one in chance.choices(pool, k=chance.randint(1, 30))}
            await db.publish_many(TOPIC, list(events.values()))
            self._world.counts["repeated"] += len(events)


class Changer:
    """Cancels, moves, looks up and counts."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance("changer")

    async def step(self, db: Recorded) -> None:
        """One of them."""
        chance, pool = self._chance, self._world.pool
        await trio.sleep(chance.uniform(0, 0.1))
        if not pool:
            return
        event = chance.choice(pool)
        assert event.message_id is not None
        # Without the key, every partition is asked.
        key = event.key if chance.random() < 0.8 else None
        kind = chance.random()
        if kind < 0.35:
            await db.cancel(TOPIC, event.message_id, key=key)
        elif kind < 0.7:
            at = None if chance.random() < 0.3 else now_ms() + chance.randint(-1000, 5000)
            await db.reschedule(TOPIC, event.message_id, at=at, key=key)
        elif kind < 0.78:
            await db.group(TOPIC, chance.choice(self._world.groups))
        elif kind < 0.88:
            await db.get(TOPIC, event.message_id, key=key)
        elif kind < 0.95:
            await db.count_pending(TOPIC)
        else:
            start = now_ms() + chance.randint(0, 3000)
            await db.pending(TOPIC, start=start, end=start + chance.randint(1, 1000))
        self._world.counts["changes"] += 1


class Replayer:
    """Replays what happened lately, in each order; some are cut, and resumed by another client."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance("replayer")

    async def step(self, db: Recorded) -> None:
        """One replay."""
        chance = self._chance
        await trio.sleep(chance.uniform(0.5, 3))
        by = chance.choice(_ORDERS)
        partition = chance.choice([None, *range(PARTITIONS)])
        start, end = await self._range(db, by)
        replay = db.replay(TOPIC, by=by, start=start, end=end, partition=partition)
        leave_after = chance.randint(1, 2000) if chance.random() < 0.3 else None
        seen = 0
        try:
            async for _ in replay:
                seen += 1
                if seen == leave_after:
                    break
        finally:
            with trio.CancelScope(shield=True):
                await replay.aclose()
        if seen == leave_after:
            async with self._world.client("replayer again") as other:
                seen += sum([1 async for _ in replay.resumed(other)])
        self._world.counts["replays"] += 1
        self._world.counts["replayed"] += seen

    async def _range(self, db: Recorded, by: str) -> tuple[int | None, int | None]:
        chance = self._chance
        if by == "offset":
            newest = max((await self._newest(db)) - chance.randint(0, REPLAY_OFFSETS), 0)
            return newest, None if chance.random() < 0.5 else newest + REPLAY_OFFSETS
        start = now_ms() - chance.randint(0, REPLAY_MS)
        return start, None if chance.random() < 0.5 else start + chance.randint(0, REPLAY_MS)

    async def _newest(self, db: Recorded) -> int:
        """About where the log ends: the offset of an event of late."""
        event = self._newest_event()
        found = event and await db.get(TOPIC, event.message_id or "", key=event.key)
        return found.offset if found else 0

    def _newest_event(self) -> Event | None:
        pool: Sequence[Event] = self._world.pool
        return pool[-1] if pool else None


class Undertaker:
    """Sends dead letters once more, and gives some up."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance("undertaker")

    async def step(self, db: Recorded) -> None:
        """All letters there are."""
        await trio.sleep(self._chance.uniform(2, 8))
        if f"{TOPIC}.dlq" not in {topic.name for topic in await db.client.topics()}:
            return
        if self._chance.random() < 0.7:
            self._world.counts["redriven"] += await db.redrive(TOPIC)
        else:
            self._world.counts["purged"] += await db.purge(TOPIC)

"""Who uses the node: publishers, members of groups, and a clerk who looks things up and changes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Final, final

import trio

from chronosdb.client import Conflict, Event
from chronosdb.testing.chance import Random
from chronosdb.wire.errors import ChronosError
from tests.proof.recorded import Recorded
from tests.proof.recorded_subscription import RecordedBatch, RecordedDelivery
from tests.simulation.world import TOPIC, World

_DAY_MS: Final = 86_400_000
#: The events of a larger batch share one fate.
_ONE_BY_ONE: Final = 8


class Person:
    """Somebody at a machine of the same name, who may be gone for a while and comes back."""

    #: Whether the end of the trouble leaves it something to do, which must come to its end too.
    has_to_finish = False

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.random = world.chance(name)
        self._presence = trio.CancelScope()
        self._absence_s = 0.0

    async def live(self) -> None:
        """Until there is nothing left to do."""
        while True:
            with trio.CancelScope() as self._presence:
                await self.work()
                return
            await trio.sleep(self._absence_s)
            self.world.network.power_back(self.name)

    def vanish(self, absence_s: float) -> None:
        """Without a word."""
        self._absence_s = absence_s
        self.world.network.power_lost(self.name)
        self._presence.cancel()

    async def work(self) -> None:
        """What this person does, over one connection or several."""
        raise NotImplementedError

    async def pause(self, average_s: float) -> bool:
        """Waits a while; whether there is still trouble to be made."""
        with trio.move_on_after(min(self.random.expovariate(1 / average_s), 10 * average_s)):
            await self.world.calm.wait()
        return not self.world.calm.is_set()

    def one_of(self, *choices: float) -> float:
        """By chance."""
        return self.random.choice(choices)


@final
class Shelf:
    """What was published, for whoever looks for an event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def any(self, random: Random) -> Event | None:
        """One of the last two hundred."""
        return random.choice(self.events[-200:]) if self.events else None


@final
class Publisher(Person):
    """Publishes; what it got no answer to, it publishes again under the same id."""

    has_to_finish = True

    def __init__(self, world: World, name: str, shelf: Shelf) -> None:
        super().__init__(world, name)
        self._shelf = shelf
        self._numbers = count()
        self._unanswered: list[list[Event]] = []
        self._haste = world.chance(f"{name} in haste")

    async def work(self) -> None:
        timeout_s = self.one_of(1.5, 10)
        async with self.world.connected(self.name, timeout_s) as db:
            while await self.pause(self.world.swarm.pause_s):
                await self._publish(db, self._next())
        async with self.world.connected(self.name) as db:
            while self._unanswered:
                await self._publish(db, self._unanswered.pop())

    def _next(self) -> list[Event]:
        choice = self.random.random()
        if self._unanswered and choice < 0.3:
            return self._unanswered.pop(self.random.randrange(len(self._unanswered)))
        batch = [self._event() for _ in range(self.random.randint(1, self.world.swarm.batch_max))]
        known = self._shelf.any(self.random)
        if known is not None and choice > 0.85:
            batch.insert(self.random.randint(0, len(batch)), known)
        self._shelf.events += batch
        return batch

    def _event(self) -> Event:
        r, now_ms = self.random, self.world.now_ms
        ahead_ms = r.choice((-1000, 0, 1, 50, *[r.randint(0, self.world.swarm.horizon_ms)] * 4))
        due_ms = None if r.random() < 0.1 else self.world.soon(ahead_ms)
        if r.random() < 0.03:
            due_ms = now_ms + r.randint(1, 400) * _DAY_MS
        return Event(
            payload=r.randbytes(r.randint(0, self.world.swarm.payload_max)),
            schedule_ts=due_ms,
            message_id=f"{self.name}.{next(self._numbers)}",
            key=r.choice((None, None, b"k1", b"k2")),
            meta={"n": r.randint(0, 9)} if r.random() < 0.2 else {},
            expires_ts=self._expiry(due_ms),
        )

    def _expiry(self, due_ms: int | None) -> int | None:
        # What is due when it comes would be refused if it came again after it has expired.
        if due_ms is None or self.random.random() >= self.world.swarm.expiring:
            return None
        return max(due_ms, self.world.now_ms) + self.random.choice((1, 300, 5_000, 60_000))

    async def _publish(self, db: Recorded, events: list[Event]) -> None:
        try:
            if self.random.random() < 0.02:
                await self._contradict(db, events[0])
            # What is published in the end shows that all is well again, and must be certain.
            hasty = not self.world.calm.is_set() and self._haste.random() < self.world.swarm.hasty
            await db.publish_many(TOPIC, events, acks="leader" if hasty else None)
        except Conflict:
            return  # nothing of the batch is stored
        except ChronosError as error:
            # "internal": the disk of the node fails, and soon the node does.
            if not error.retryable and error.code != "internal":
                raise
            self._unanswered.append(events)
            await trio.sleep(0.1)
        except trio.Cancelled:
            self._unanswered.append(events)
            raise

    async def _contradict(self, db: Recorded, event: Event) -> None:
        """The same id with other content, which one of the two publishes must lose."""
        other = Event(
            payload=event.payload + b"!",
            schedule_ts=event.schedule_ts,
            message_id=event.message_id,
            key=event.key,
        )
        with suppress(ChronosError):
            await db.publish_many(TOPIC, [other])


@final
class Member(Person):
    """Consumes in a group; joins it again and again, each time under a new name."""

    def __init__(self, world: World, name: str, group: str, mode: str) -> None:
        super().__init__(world, name)
        self._group = group
        self._mode = mode
        self._lives = count()
        #: Deliveries of this life that are neither acked nor given back.
        self._left_alone = 0

    async def work(self) -> None:
        while True:
            async with self.world.connected(self.name, self.one_of(2, 10)) as db:
                with suppress(ChronosError):
                    await self._stay(db)
            await trio.sleep(0.1)

    async def _stay(self, db: Recorded) -> None:
        async with db.consume(
            TOPIC,
            group=self._group,
            mode=self._mode,
            credits=self.world.swarm.credits,
            member=f"{self.name}.{next(self._lives)}",
        ) as events:
            until_s = trio.current_time() + self.one_of(3, 20, 1000)
            self._left_alone = 0
            async for batch in events.batches(int(self.one_of(1, 4, 500))):
                await self._handle(batch)
                bored = trio.current_time() > until_s and not self.world.calm.is_set()
                # Who settles nothing is sent nothing more: to go on, it must come anew.
                if bored or self._left_alone >= self.world.swarm.credits:
                    return

    async def _handle(self, batch: RecordedBatch) -> None:
        swarm = self.world.swarm
        trouble = not self.world.calm.is_set() and (swarm.nacked or swarm.dropped)
        parts = list(batch) if trouble and len(batch) <= _ONE_BY_ONE else [batch]
        for part in parts:
            with suppress(ChronosError):
                await self._decide(part, self.random.random() if trouble else 1.0)

    async def _decide(self, part: RecordedBatch | RecordedDelivery, choice: float) -> None:
        swarm = self.world.swarm
        if choice < swarm.nacked:
            await part.nack(self.random.choice((None, 0.0, 0.5)))
        elif choice >= swarm.nacked + swarm.dropped:
            await part.ack()
        elif isinstance(part, RecordedDelivery):
            self._left_alone += 1
            if self.random.random() < 0.5:
                await part.extend(1.0)
        else:
            self._left_alone += len(part)


@final
class Clerk(Person):
    """Cancels, moves, looks up, lists, replays, and sometimes lets a group begin again."""

    def __init__(self, world: World, name: str, shelf: Shelf) -> None:
        super().__init__(world, name)
        self._shelf = shelf

    async def work(self) -> None:
        async with self.world.connected(self.name) as db:
            while await self.pause(0.8):
                with suppress(ChronosError):
                    await self._do_something(db)

    async def _do_something(self, db: Recorded) -> None:
        event = self._shelf.any(self.random)
        if event is None:
            return
        soon_ms = self.world.soon(self.random.randint(0, self.world.swarm.horizon_ms))
        topic, message_id, key = TOPIC, event.message_id or "", event.key
        group = self.random.choice(self.world.swarm.groups)[0]
        deeds: list[tuple[float, Callable[[], Awaitable[object]]]] = [
            (6, lambda: db.cancel(topic, message_id, key=key)),
            (4, lambda: db.reschedule(topic, message_id, at=soon_ms, key=key)),
            (1, lambda: db.reschedule(topic, message_id, key=key)),
            (4, lambda: db.get(topic, message_id, key=key)),
            (2, lambda: db.count_pending(topic)),
            (2, lambda: db.pending(topic, end=soon_ms)),
            (1, lambda: db.cancel_where(topic, start=soon_ms, end=soon_ms + 20)),
            (3, lambda: db.group(topic, group)),
            (2, lambda: self._replay(db)),
            (1, lambda: db.redrive(topic)),
            (0.5, lambda: db.reset_group(topic, group, to=self._place(), force=True)),
        ]
        weights = [weight for weight, _ in deeds]
        [(_, deed)] = self.random.choices(deeds, weights)
        await deed()

    def _place(self) -> str | int:
        return self.random.choice(("earliest", "latest", self.world.now_ms - 3000))

    async def _replay(self, db: Recorded) -> None:
        by = self.random.choice(("offset", "published", "fired", "scheduled"))
        replay = db.replay(TOPIC, by=by)
        left_after = self.random.choice((1, 30, 1_000_000))
        seen: AsyncIterator[object] = aiter(replay)
        with suppress(StopAsyncIteration):
            for _ in range(left_after):
                await anext(seen)
        await replay.aclose()

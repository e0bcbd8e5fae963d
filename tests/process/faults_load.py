"""Work for a node while it is being harmed: publishers and members, all of it on record.

Everybody rides through: a publish without an answer is sent again under its id; a member whose connection ended
joins again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

import trio

from chronosdb.client import ChronosError, Event, connect
from tests.proof.history import Recorder
from tests.proof.recorded import Recorded
from tests.proof.recorded_subscription import RecordedBatch

TOPIC = "faults"
PARTITIONS = 2
#: By mode, one group each.
GROUPS = {"workers": "shared", "steady": "ordered"}
ACK_TIMEOUT_S = 2.0
_REQUEST_TIMEOUT_S = 30.0
_BATCH_MAX = 20
_PAUSE_S_MAX = 0.05
#: The past that events are due in, at most.
_PAST_MS = 100
_RETRY_S = 0.1


@dataclass(slots=True)
class Load:
    """Who works, for as long as they do."""

    address: Callable[[], str]
    recorder: Recorder
    random: Random
    #: Events are due so far ahead, at most.
    horizon_ms: int = 3000
    #: Publishers go on while this is set.
    publishing: bool = True
    #: The unreliable member is reliable while this is set.
    calm: bool = False
    #: Events that were answered.
    published: int = 0
    _numbers: count[int] = field(default_factory=count)

    async def prepare(self) -> None:
        """The topic is there."""
        async with connect(self.address(), timeout=_REQUEST_TIMEOUT_S) as client:
            await Recorded(client, self.recorder, "admin").create_topic(TOPIC, PARTITIONS)

    async def publisher(self, name: str) -> None:
        """Publishes until told to stop; now and then cancels, moves or looks."""
        waiting: list[Event] = []
        while self.publishing or waiting:
            try:
                async with connect(self.address(), timeout=_REQUEST_TIMEOUT_S) as client:
                    await self._publish_on(Recorded(client, self.recorder, name), waiting)
            except ChronosError:
                await trio.sleep(_RETRY_S)

    async def _publish_on(self, db: Recorded, waiting: list[Event]) -> None:
        random = self.random
        while self.publishing or waiting:
            if not waiting:
                waiting += [self._event() for _ in range(random.randint(1, _BATCH_MAX))]
            await db.publish_many(TOPIC, waiting)
            self.published += len(waiting)
            one, key = waiting[0].message_id or "", waiting[0].key
            waiting.clear()
            match random.randrange(12):
                case 0:
                    await db.cancel(TOPIC, one, key=key)
                case 1:
                    await db.reschedule(TOPIC, one, at=self._due_ms(), key=key)
                case 2:
                    await db.get(TOPIC, one, key=key)
            await trio.sleep(random.uniform(0, _PAUSE_S_MAX))

    def _event(self) -> Event:
        number, random = next(self._numbers), self.random
        return Event(
            payload=random.randbytes(random.randint(0, 300)),
            message_id=f"m{number}",
            key=b"k%d" % (number % 7) if number % 3 == 0 else None,
            schedule_ts=None if number % 10 == 0 else self._due_ms(),
            relative=number % 10 == 0,
        )

    def _due_ms(self) -> int:
        return self.recorder.wall_ms() + self.random.randint(-_PAST_MS, self.horizon_ms)

    async def member(self, name: str, group: str, *, reliable: bool = True) -> None:
        """Takes part in a group for ever, under another name each time it joins."""
        for life in count(1):
            try:
                async with connect(self.address(), timeout=_REQUEST_TIMEOUT_S) as client:
                    db = Recorded(client, self.recorder, f"{name}.{life}")
                    await self._consume(db, group, reliable=reliable)
            except ChronosError:
                await trio.sleep(_RETRY_S)

    async def _consume(self, db: Recorded, group: str, *, reliable: bool) -> None:
        async with db.consume(TOPIC, group=group, mode=GROUPS[group]) as events:
            async for batch in events.batches():
                if reliable or self.calm:
                    await batch.ack()
                elif await self._vanishes(batch):
                    return

    async def _vanishes(self, batch: RecordedBatch) -> bool:
        """Acks, acks too late, gives back, or is gone with its leases."""
        match self.random.randrange(8):
            case 0:
                return True
            case 1:
                await trio.sleep(1.5 * ACK_TIMEOUT_S)
                await batch.ack()
            case 2:
                await batch.nack(delay=0.1)
            case _:
                await batch.ack()
        return False

    async def drained(self, timeout_s: float) -> bool:
        """Wait until both groups have settled all there is; False when that takes too long."""
        with trio.move_on_after(timeout_s):
            while not await self._idle():  # noqa: ASYNC110 - the node is asked, and says no more
                await trio.sleep(0.3)
            return True
        return False

    async def _idle(self) -> bool:
        try:
            async with connect(self.address(), timeout=_REQUEST_TIMEOUT_S) as client:
                db = Recorded(client, self.recorder, "judge")
                lags = [(await db.group(TOPIC, group)).lag for group in GROUPS]
                return not any(lags) and not await db.count_pending(TOPIC)
        except ChronosError:
            return False

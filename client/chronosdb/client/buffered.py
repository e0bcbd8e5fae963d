"""The buffered publisher: single events in, batches out.

Events that are sent within the same few milliseconds travel and are synced together, which costs a
fraction of what each alone would. Whoever sends gets a handle at once and the result when it is on
disk; when too much waits, sending waits.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Generator, Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup

from chronosdb.client.ids import IdMaker
from chronosdb.client.new_event import new_event
from chronosdb.client.outcomes import Outcome, PublishMany, publish_each
from chronosdb.client.results import PublishResult
from chronosdb.client.seams import Seams
from chronosdb.wire import Event
from chronosdb.wire.errors import ChronosError, InvalidArgument
from chronosdb.wire.event import Meta

#: Batches under way at a time.
_IN_FLIGHT: Final = 4


class Sent:
    """An event on its way. `await` it for its PublishResult, or for the error that it met."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self._done = anyio.Event()
        self._outcome: Outcome | None = None

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self._outcome is not None

    def settle(self, outcome: Outcome) -> None:
        """Give the result to all who wait."""
        self._outcome = outcome
        self._done.set()

    async def result(self) -> PublishResult:
        """Where the event is stored, once it is on disk; raises the ChronosError that it met."""
        await self._done.wait()
        if isinstance(self._outcome, ChronosError):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome

    def __await__(self) -> Generator[object, None, PublishResult]:
        return self.result().__await__()


class BufferedPublisher:
    """Made by `Client.publisher`. Any number of tasks may send at once.

    Invariant: `_room` has a slot for every event that may still be taken in; an event holds one from
    `send` until its result is there.
    """

    def __init__(
        self,
        publish: PublishMany,
        tasks: TaskGroup,
        seams: Seams,
        *,
        linger: float,
        max_batch: int,
        max_buffered: int,
    ) -> None:
        self._now_ms = seams.now_ms
        self._ids = IdMaker(seams)
        self._publish = publish
        self._tasks = tasks
        self._linger = linger
        self._max_batch = max_batch
        self._room = anyio.Semaphore(max_buffered)
        self._in_flight = anyio.CapacityLimiter(_IN_FLIGHT)
        self._waiting: list[Sent] = []
        self._unsettled = 0
        self._full = anyio.Event()
        self._idle = anyio.Event()
        self._idle.set()

    async def send(
        self,
        payload: bytes,
        *,
        message_id: str | None = None,
        key: bytes | None = None,
        meta: Meta | None = None,
        at: dt.datetime | int | None = None,
        after: float | None = None,
        expires_at: dt.datetime | int | None = None,
        expires_after: float | None = None,
    ) -> Sent:
        """Take an event in, as `Client.publish` would; waits while too many are on their way.

        Raises:
            TypeError, InvalidArgument: as `Client.publish`.
        """
        event = new_event(
            payload,
            # Fixed here: a batch that is sent again in parts must not store an event twice.
            message_id=self._ids.take(1)[0] if message_id is None else message_id,
            key=key,
            meta=meta,
            at=at,
            after=after,
            expires_at=expires_at,
            expires_after=expires_after,
            now_ms=self._now_ms,
        )
        await self._room.acquire()
        return self._take_in(Sent(event))

    def _take_in(self, sent: Sent) -> Sent:
        self._waiting.append(sent)
        self._unsettled += 1
        if self._unsettled == 1:
            self._idle = anyio.Event()
        if len(self._waiting) == 1:
            self._full = anyio.Event()
            self._tasks.start_soon(self._send_soon)
        if len(self._waiting) >= self._max_batch:
            self._full.set()
        return sent

    async def flush(self) -> None:
        """Return when every event taken in so far has its result, good or bad."""
        self._full.set()
        await self._idle.wait()

    async def _send_soon(self) -> None:
        """One batch: what is here when the linger is over, or when it is full."""
        with anyio.move_on_after(self._linger):
            await self._full.wait()
        async with self._in_flight:
            batch, self._waiting = self._waiting, []
            for start in range(0, len(batch), self._max_batch):
                await self._send(batch[start : start + self._max_batch])

    async def _send(self, batch: Sequence[Sent]) -> None:
        outcomes = await publish_each(self._publish, [sent.event for sent in batch])
        for sent, outcome in zip(batch, outcomes, strict=True):
            self._settle(sent, outcome)

    def _settle(self, sent: Sent, outcome: Outcome) -> None:
        sent.settle(outcome)
        self._room.release()
        self._unsettled -= 1
        if not self._unsettled:
            self._idle.set()


def check_linger(linger: float) -> float:
    """Seconds to wait for company; raises InvalidArgument."""
    if not 0 <= linger < math.inf:
        raise InvalidArgument(f"linger must be seconds, 0 or more, not {linger}")
    return float(linger)

"""What an application iterates over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self

import anyio
import anyio.lowlevel

from chronosdb.client.arguments import check_count
from chronosdb.client.cluster import Cluster
from chronosdb.client.replay.event import ReplayedEvent
from chronosdb.client.replay.merge import Merge
from chronosdb.client.replay.source import Bell, Source, ahead_bytes, cut_all
from chronosdb.client.replay.terms import ReplayTerms
from chronosdb.client.topics import Topics
from chronosdb.wire.errors import ChronosError, InvalidArgument
from chronosdb.wire.limits import MAX_CREDITS, MAX_REPLAYS
from chronosdb.wire.messages import ReplayPlace


class Replay:
    """Stored events, in order, each once; made by `Client.replay`.

    For one task at a time. Nothing is asked before the first event is waited for. An iteration that is
    left half-way ends its streams when it is forgotten; `aclose` (or `contextlib.aclosing`) does so at
    once.
    """

    def __init__(
        self,
        cluster: Cluster,
        topics: Topics,
        next_stream: Callable[[], int],
        terms: ReplayTerms,
        *,
        follow: bool,
        speed: float | None,
        places: Mapping[int, ReplayPlace],
    ) -> None:
        self._cluster = cluster
        self._topics = topics
        self._next_stream = next_stream
        self._terms = terms
        self._follow = follow
        self._pace = None if speed is None else _Pace(speed)
        #: How far each partition had come when the last event was taken from another one.
        self._trail = places
        self._sources: list[Source] = []
        #: One after the other; the last one follows, if that is wanted. None: not begun.
        self._stages: deque[Merge] | None = None
        self._current: Source | None = None
        self._bell: Bell | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReplayedEvent:
        """The next event; one that is buffered is handed out without a pause.

        Raises:
            NotFound: no such topic or partition, or retention has deleted what comes next.
            ChronosError: the streams could not be opened again within the deadline.
        """
        try:
            source = None if self._closed else await self._next_source()
        except ChronosError:
            self._close()
            raise
        if source is None:
            self._close()
            raise StopAsyncIteration
        if self._pace is not None:
            await self._pace.wait(source.time_ms)
        return self._take(source)

    def take(self, limit: int) -> list[ReplayedEvent]:
        """Further events that are here already, at most `limit`; with `speed`, none.

        Raises:
            InvalidArgument: `limit` is not a positive int.
        """
        check_count("limit", limit, 1, MAX_CREDITS)
        events: list[ReplayedEvent] = []
        if self._closed or self._pace is not None or not self._stages:
            return events
        with suppress(ChronosError):  # whoever waits for the next event is told
            while len(events) < limit and (source := self._stages[0].ready()) is not None:
                events.append(self._take(source))
        return events

    async def aclose(self) -> None:
        """End the streams. Harmless when they have ended."""
        self._close()
        await anyio.lowlevel.checkpoint()

    def __del__(self) -> None:
        # Forgotten in the middle, perhaps when its event loop is gone already.
        with suppress(RuntimeError):
            self._close()

    async def _next_source(self) -> Source | None:
        stages = self._stages if self._stages is not None else await self._begin()
        while stages:
            source = await stages[0].next()
            if source is not None:
                return source
            stages.popleft()
            if not stages and self._follow:
                self._follow = False
                stages.append(self._following())
        return None

    async def _begin(self) -> deque[Merge]:
        partitions = self._terms.partitions(await self._topics.partitions(self._terms.topic))
        ordered_apart = self._terms.by == "offset"
        if len(partitions) > MAX_REPLAYS and (self._follow or not ordered_apart):
            raise InvalidArgument(
                f"a replay merges at most {MAX_REPLAYS} partitions, and this topic has"
                f" {len(partitions)}: replay it by partition, or by='offset' without follow"
            )
        self._bell = Bell()
        ahead = ahead_bytes(1 if ordered_apart else len(partitions))
        self._sources = [self._source(partition, ahead) for partition in partitions]
        groups: Sequence[list[Source]] = [self._sources]
        if ordered_apart and len(partitions) > 1:
            await cut_all(self._cluster, self._sources)
            groups = [[source] for source in self._sources]
        self._stages = deque(
            Merge(self._cluster, group, self._bell, patient=True) for group in groups
        )
        return self._stages

    def _source(self, partition: int, ahead: int) -> Source:
        assert self._bell is not None
        return Source(
            self._terms,
            partition,
            self._trail.get(partition),
            next_stream=self._next_stream,
            bell=self._bell,
            ahead_bytes=ahead,
        )

    def _following(self) -> Merge:
        assert self._bell is not None
        for source in self._sources:
            source.go_on()
        return Merge(self._cluster, self._sources, self._bell, patient=False)

    def _take(self, source: Source) -> ReplayedEvent:
        assert self._stages
        if source is not self._current:
            # Events keep the trail that they were made with: it is replaced, never changed.
            places = ((other.partition, other.place) for other in self._sources)
            self._trail = {partition: place for partition, place in places if place is not None}
            self._current = source
        chunk, index = self._stages[0].take()
        return ReplayedEvent(self._terms, chunk, index, until=source.until, trail=self._trail)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            for source in self._sources:
                source.close()


class _Pace:
    """Hands events out at their original distances, `speed` times faster."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        #: Time of the first event, and when it was handed out.
        self._first: tuple[int, float] | None = None

    async def wait(self, time_ms: int) -> None:
        """Wait until the event of `time_ms` has its turn."""
        now_s = anyio.current_time()
        first_ms, began_s = self._first = self._first or (time_ms, now_s)
        turn_s = began_s + (time_ms - first_ms) / 1000 / self._speed
        if turn_s > now_s:
            await anyio.sleep_until(turn_s)

"""Several sources as one: always the earliest event, by time and then by partition."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from chronosdb.client.cluster import Cluster
from chronosdb.client.replay.event import ReplayChunk
from chronosdb.client.replay.source import Bell, Source, open_all


class Merge:
    """The events of some sources.

    A `patient` one takes no event before it has seen the next one of every source: the order is that of
    time. An impatient one takes the earliest of what has come.
    """

    def __init__(
        self, cluster: Cluster, sources: Iterable[Source], bell: Bell, *, patient: bool
    ) -> None:
        self._cluster = cluster
        self._bell = bell
        self._patient = patient
        #: Sources by the time of their next event. Invariant: each source is here, in `_unknown`, or
        #: has ended.
        self._heap: list[tuple[int, int, Source]] = []
        #: Those whose next event has not come, as far as we looked.
        self._unknown = list(sources)

    def ready(self) -> Source | None:
        """The source of the next event, if that is known already.

        Raises:
            ChronosError: why a source has no more.
        """
        if self._unknown:
            self._look()
        if not self._heap or (self._patient and self._unknown):
            return None
        return self._heap[0][-1]

    async def next(self) -> Source | None:
        """The source of the next event; None when all have ended.

        Raises:
            ChronosError: why a source has no more, or cannot be had.
        """
        while (source := self.ready()) is None:
            if not self._unknown:
                return None
            closed = [source for source in self._unknown if source.closed]
            if closed:
                await open_all(self._cluster, closed)
            else:
                await self._bell.wait()
        return source

    def take(self) -> tuple[ReplayChunk, int]:
        """The event of the source that `next` named."""
        source = self._heap[0][-1]
        taken = source.take()
        if not source.has_head:
            heapq.heappop(self._heap)
            self._unknown.append(source)
        else:
            heapq.heapreplace(self._heap, _entry(source))
        return taken

    def _look(self) -> None:
        unknown: list[Source] = []
        for source in self._unknown:
            if source.has_head:
                heapq.heappush(self._heap, _entry(source))
            elif not source.has_ended():
                unknown.append(source)
        self._unknown = unknown


def _entry(source: Source) -> tuple[int, int, Source]:
    return source.time_ms, source.partition, source

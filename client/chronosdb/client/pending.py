"""Pending events over all partitions of a topic: merged in time order, counted, changed."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from chronosdb.client.checked_column import checked_column
from chronosdb.client.cluster import Cluster
from chronosdb.client.connection import Ask
from chronosdb.client.leaders import Partition
from chronosdb.client.lookup import IN_FLIGHT
from chronosdb.client.meta import decode_meta
from chronosdb.client.results import StoredEvent, text_id
from chronosdb.wire import EventBatch, partition_for
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ProtocolError
from chronosdb.wire.limits import MAX_PAGE_ROWS
from chronosdb.wire.messages.pending import Place

Outcome = Literal["cancelled", "rescheduled", "already_fired", "not_found"]
_OUTCOMES: Final = ("cancelled", "rescheduled", "already_fired", "not_found")
_PAGE_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """How cancelling or rescheduling ended; losing the race against firing is no error."""

    message_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pending events of a topic: due in [start_ms, end_ms), with `key` if one is given."""

    topic: str
    start_ms: int
    end_ms: int
    key: bytes | None

    def partitions(self, count: int) -> Sequence[int]:
        """Where they may be: a key is in one partition only."""
        return range(count) if self.key is None else [partition_for(self.key, b"", count)]


async def list_pending(
    cluster: Cluster, wanted: Wanted, partitions: int
) -> AsyncIterator[StoredEvent]:
    """Every pending event wanted, in (schedule_ts, partition, offset) order.

    Holds one page per partition in memory. Each page is what is true when it is read.
    """
    indices = wanted.partitions(partitions)
    limit = max(16, _PAGE_ROWS // len(indices))
    cursors = [_Cursor(cluster, wanted, index, limit) for index in indices]
    heap: list[tuple[int, int, int, StoredEvent]] = []
    for number, cursor in enumerate(cursors):
        await _push(heap, number, cursor)
    while heap:
        *_, number, event = heapq.heappop(heap)
        yield event
        await _push(heap, number, cursors[number])


async def count_pending(cluster: Cluster, wanted: Wanted, partitions: int) -> int:
    """How many there are."""
    asks = (
        (Partition(wanted.topic, index), _count(wanted, index), 1)
        for index in wanted.partitions(partitions)
    )
    return sum(reply.count for reply in await cluster.call_all(asks, m.Counted, IN_FLIGHT))


async def cancel_where(cluster: Cluster, wanted: Wanted, partitions: int, *, dry_run: bool) -> int:
    """Cancel all of them, page by page; how many it were, or would be."""
    total = 0
    for index in wanted.partitions(partitions):
        after: Place | None = None
        while True:
            reply = await cluster.call(
                _cancel_where(wanted, index, after, dry_run=dry_run),
                m.CancelledWhere,
                Partition(wanted.topic, index),
            )
            total += reply.count
            after = reply.next
            if after is None:
                break
    return total


async def change_event(
    cluster: Cluster,
    topic: str,
    partitions: int,
    message_id: bytes,
    key: bytes | None,
    *,
    due_ms: int | None,
) -> ChangeResult:
    """Cancel an event (`due_ms` None) or move it: in its key's partition, or wherever it is."""
    home = partition_for(key, message_id, partitions)
    others = [] if key is not None else [p for p in range(partitions) if p != home]
    outcome: Outcome = "not_found"
    for index in (home, *others):
        ask = _change(topic, index, message_id, due_ms)
        reply = await cluster.call(ask, m.Changed, Partition(topic, index))
        outcome = _outcome(reply)
        if outcome != "not_found":
            break
    return ChangeResult(text_id(message_id), outcome)


class _Cursor:
    """One partition's rows, page by page."""

    def __init__(self, cluster: Cluster, wanted: Wanted, partition: int, limit: int) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._partition = partition
        self._limit = limit
        self._rows: list[StoredEvent] = []
        self._after: Place | None = None
        self._more = True

    async def next(self) -> StoredEvent | None:
        """The next row, None after the last."""
        while not self._rows and self._more:
            partition = Partition(self._wanted.topic, self._partition)
            page = await self._cluster.call(self._ask, m.PendingPage, partition)
            self._rows = _events(self._partition, page)[::-1]
            self._after = page.next
            self._more = page.next is not None
        return self._rows.pop() if self._rows else None

    def _ask(self, request: int) -> m.ListPending:
        w = self._wanted
        return m.ListPending(
            request, w.topic, self._partition, w.start_ms, w.end_ms, w.key, self._after, self._limit
        )


async def _push(
    heap: list[tuple[int, int, int, StoredEvent]], number: int, cursor: _Cursor
) -> None:
    event = await cursor.next()
    if event is not None:
        heapq.heappush(heap, (event.schedule_ts, event.offset, number, event))


def _events(partition: int, page: m.PendingPage) -> list[StoredEvent]:
    if not page.batch:
        return []
    batch = EventBatch(page.batch)
    offsets = checked_column("offsets", page.offsets, batch.count)
    published = checked_column("published", page.published, batch.count)
    return [
        StoredEvent(
            state="pending",
            message_id=text_id(batch.message_id(i)),
            payload=batch.payload(i),
            meta=decode_meta(batch.meta(i)),
            key=batch.key(i),
            schedule_ts=batch.due[i],
            expires_ts=batch.expires(i),
            published_ts=published[i],
            partition=partition,
            offset=offsets[i],
        )
        for i in range(batch.count)
    ]


def _count(wanted: Wanted, partition: int) -> Ask:
    return lambda request: m.CountPending(
        request, wanted.topic, partition, wanted.start_ms, wanted.end_ms, wanted.key
    )


def _cancel_where(
    wanted: Wanted, partition: int, after: Place | None, *, dry_run: bool
) -> Callable[[int], m.CancelWhere]:
    return lambda request: m.CancelWhere(
        request,
        wanted.topic,
        partition,
        wanted.start_ms,
        wanted.end_ms,
        wanted.key,
        after,
        MAX_PAGE_ROWS,
        dry_run,
    )


def _change(topic: str, partition: int, message_id: bytes, due_ms: int | None) -> Ask:
    return lambda request: m.Change(request, topic, partition, message_id, due_ms)


def _outcome(reply: m.Changed) -> Outcome:
    for outcome in _OUTCOMES:
        if reply.outcome == outcome:
            return outcome
    raise ProtocolError(f"a change ended as {reply.outcome!r}, which this client does not know")

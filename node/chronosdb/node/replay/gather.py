"""Fetching events in a wanted order, with bounded memory, whatever order they are stored in.

Events are read in the order of the log, each record once, and only what is wanted is copied out of it;
then the copies are put in order. How many events fit into a page is not known before they are read: a
page that was asked too much for is tried again with fewer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from chronosdb.node.due import Int64s
from chronosdb.node.reader import EventReader, Slice, Stored
from chronosdb.node.replay.history import Breath
from chronosdb.wire import BatchBuilder, EventBatch

#: Events in one page, at most.
_PAGE_EVENTS: Final = 4096
#: What each event adds to a batch beside its id and its body.
_ROW_BYTES: Final = 20


class Page(NamedTuple):
    """Events of the wanted offsets, in their order."""

    #: The wanted offsets up to here are done with.
    taken: int
    #: Those that are in the page, as indices: all that were taken, unless a key was asked for.
    chosen: Int64s
    published_ms: Int64s
    #: None when no event was chosen.
    batch: EventBatch | None


@dataclass(slots=True)
class _Haul:
    """Events in the order of the log, copied out of their records."""

    #: Room for batches, in bytes; the first event always fits.
    room: int
    #: How many of the offsets asked for are in here, or were passed over.
    taken: int = 0
    batches: list[EventBatch] = field(default_factory=list)
    #: Of each event: which of the offsets asked for it is, and when it was published.
    chosen: list[Int64s] = field(default_factory=list)
    published_ms: list[Int64s] = field(default_factory=list)

    def add(self, stored: Stored, picked: list[tuple[int, int, int]]) -> None:
        """Copy events of one record: (first, after the last, number of the first)."""
        if not picked:
            return
        builder = BatchBuilder()
        for start, stop, number in picked:
            builder.add(stored.batch, start, stop)
            self.chosen.append(np.arange(number, number + stop - start, dtype=np.int64))
        self.published_ms.append(np.full(builder.count, stored.published_ms, np.int64))
        self.batches.append(EventBatch(builder.build()))


class Gatherer:
    """Makes pages of one partition's events; with `key`, only of those that have it."""

    def __init__(self, reader: EventReader, key: bytes | None) -> None:
        self._reader = reader
        self._key = key
        self._breath = Breath()
        #: How many events to ask for: about as many as fit.
        self._appetite = _PAGE_EVENTS

    async def page(self, offsets: Int64s, room: int) -> Page:
        """As many of `offsets`, from the first on, as fit into `room` bytes; one at least.

        Raises:
            OutOfRange: an event is not stored any more.
            DamagedRecord: its bytes on disk are not what was written.
        """
        while True:
            wanted = offsets[: self._appetite]
            order = np.argsort(wanted, kind="stable")
            haul = await self._haul(wanted[order], room)
            in_order = bool((np.diff(order) > 0).all())
            if haul.taken == len(wanted) or in_order:
                if 2 * haul.room > room:
                    self._appetite = min(_PAGE_EVENTS, 2 * self._appetite)
                return _page(haul, None if in_order else order)
            # The first events of the order of the log are not the first that are wanted.
            self._appetite = max(1, len(wanted) // 2)

    async def _haul(self, offsets: Int64s, room: int) -> _Haul:
        haul = _Haul(room)
        record: Stored | None = None
        picked: list[tuple[int, int, int]] = []
        for piece in self._reader.slices(offsets):
            if piece.stored is not record:
                if record is not None:
                    haul.add(record, picked)
                    await self._breath.after(len(record.batch.blob))
                record, picked = piece.stored, []
            if not self._pick(haul, piece, picked):
                break
        assert record is not None
        haul.add(record, picked)
        return haul

    def _pick(self, haul: _Haul, piece: Slice, picked: list[tuple[int, int, int]]) -> bool:
        """Choose events of a slice; False when the room is used up before its end."""
        batch, first = piece.stored.batch, haul.taken
        for start, stop in self._runs(piece):
            began = bool(haul.batches or picked)
            fits = _fitting(batch, start, stop, haul.room, at_least=0 if began else 1)
            if fits > start:
                picked.append((start, fits, first + start - piece.start))
                haul.room -= _size(batch, start, fits)
            if fits < stop:
                haul.taken = first + fits - piece.start
                return False
        haul.taken = first + piece.stop - piece.start
        return True

    def _runs(self, piece: Slice) -> Iterator[tuple[int, int]]:
        """The events of a slice that have the key, neighbours together."""
        if self._key is None:
            yield piece.start, piece.stop
            return
        batch, nbytes = piece.stored.batch, len(self._key)
        lengths = np.frombuffer(batch.key_len, np.uint16)[piece.start : piece.stop]
        for i in (np.flatnonzero(lengths == nbytes) + piece.start).tolist():
            if batch.key(i) == self._key:
                yield i, i + 1


def _page(haul: _Haul, order: Int64s | None) -> Page:
    """What was hauled, in the wanted order; `order` None: that is the order of the log."""
    if not haul.batches:
        return Page(haul.taken, np.empty(0, np.int64), np.empty(0, np.int64), None)
    chosen, published_ms = np.concatenate(haul.chosen), np.concatenate(haul.published_ms)
    if order is None:
        return Page(haul.taken, chosen, published_ms, _joined(haul.batches))
    chosen = order[chosen]
    ranks = np.argsort(chosen)
    batch = _arranged(haul.batches, ranks)
    return Page(haul.taken, chosen[ranks], published_ms[ranks], batch)


def _joined(batches: list[EventBatch]) -> EventBatch:
    if len(batches) == 1:
        return batches[0]
    builder = BatchBuilder()
    for batch in batches:
        builder.add(batch, 0, batch.count)
    return EventBatch(builder.build())


def _arranged(batches: list[EventBatch], ranks: Int64s) -> EventBatch:
    """The events of all batches, counted through, in the order of `ranks`."""
    ends = np.cumsum([batch.count for batch in batches])
    which = np.searchsorted(ends, ranks, side="right")
    starts = ends - [batch.count for batch in batches]
    builder = BatchBuilder()
    for number, index in zip(which.tolist(), (ranks - starts[which]).tolist(), strict=True):
        builder.add(batches[number], index, index + 1)
    return EventBatch(builder.build())


def _fitting(batch: EventBatch, start: int, stop: int, room: int, *, at_least: int) -> int:
    """Where the events from `start` on, up to `stop`, exceed `room` bytes."""
    ends = range(start, stop + 1)
    fits = bisect_right(ends, room, key=lambda end: _size(batch, start, end)) - 1
    return min(stop, start + max(at_least, fits))


def _size(batch: EventBatch, start: int, stop: int) -> int:
    ids, bodies = batch.id_ends, batch.body_ends
    return (stop - start) * _ROW_BYTES + ids[stop] - ids[start] + bodies[stop] - bodies[start]

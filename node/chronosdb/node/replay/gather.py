"""Fetching events in a wanted order, with bounded memory, whatever order they are stored in.

Neighbours in the log are copied a page at a time. Where the wanted order is another one, a page would
have to read many records for a few events each; so a hoard of several pages is fetched at once, in the
order of the log, each record once, copying out only what is wanted. How many events fit into it is not
known before they are read: a hoard that was asked too much for is tried again with fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from chronosdb.node.partition.due import Int64s
from chronosdb.node.partition.history import Breath
from chronosdb.node.partition.reader import EventReader, Slice, Stored
from chronosdb.wire import BatchBuilder, EventBatch

#: Events that are looked at for one page, and for one hoard, at most.
_PAGE_EVENTS: Final = 4096
_HOARD_EVENTS: Final = 32_768
_HOARD_BYTES: Final = 4 * 1024 * 1024
#: What a batch costs in any case, and with each event beside its id and its body.
_BATCH_BYTES: Final = 4
_ROW_BYTES: Final = 20


class Page(NamedTuple):
    """Some of the wanted events, in their order."""

    #: Which of the wanted ones they are.
    chosen: Int64s
    published_ms: Int64s
    batch: EventBatch


class Gatherer:
    """Makes pages of one partition's events; with `key`, only of those that have it."""

    def __init__(self, reader: EventReader, key: bytes | None) -> None:
        self._reader = reader
        self._key = key
        self._breath = Breath()
        self._offsets = np.empty(0, np.int64)
        #: The wanted offsets before this are fetched.
        self._next = 0
        self._hoard: _Hoard | None = None
        #: The record that was last looked at, and how large its events are up to each.
        self._measured: tuple[Stored, Int64s] | None = None
        #: How many events to ask for in another order than that of the log: about as many as fit.
        self._appetite = _HOARD_EVENTS

    def want(self, offsets: Int64s) -> None:
        """These are the next; those wanted before are all paged."""
        assert self._hoard is None
        self._offsets, self._next = offsets, 0

    async def page(self, room: int) -> Page | None:
        """The next events, as many as fit into `room` bytes, one at least; None: no more.

        Raises:
            OutOfRange: an event is not stored any more.
            DamagedRecord: its bytes on disk are not what was written.
        """
        while self._hoard is None and self._next < len(self._offsets):
            self._hoard = await self._fetch(room)
        if self._hoard is None:
            return None
        page = self._hoard.take(room)
        if self._hoard.empty:
            self._hoard = None
        return page

    async def _fetch(self, room: int) -> _Hoard | None:
        """The next events that are not fetched; None: nobody wants these."""
        start = self._next
        wanted = self._offsets[start : start + _PAGE_EVENTS]
        if (np.diff(wanted) > 0).all():
            haul = await self._haul(wanted, room)
            self._next += haul.taken
            return haul.hoard(start, np.arange(haul.taken, dtype=np.int64))
        while True:
            wanted = self._offsets[start : start + self._appetite]
            order = np.argsort(wanted, kind="stable")
            haul = await self._haul(wanted[order], _HOARD_BYTES)
            if haul.taken == len(wanted):
                self._next += haul.taken
                if 2 * haul.room > _HOARD_BYTES:
                    self._appetite = min(_HOARD_EVENTS, 2 * self._appetite)
                return haul.hoard(start, order)
            # What was read first is not what is wanted first.
            self._appetite = max(1, len(wanted) // 2)

    async def _haul(self, offsets: Int64s, room: int) -> _Haul:
        """Copy events at ascending offsets, until there is no room."""
        haul = _Haul(room)
        record: Stored | None = None
        runs: list[_Run] = []
        ends = np.empty(0, np.int64)
        for piece in self._reader.slices(offsets):
            if piece.stored is not record:
                if record is not None:
                    haul.copy(record, runs)
                    await self._breath.after(len(record.batch.blob))
                record, runs, ends = piece.stored, [], self._ends(piece.stored)
            if not haul.pick(piece, self._chosen(piece), ends, runs):
                break
        assert record is not None
        haul.copy(record, runs)
        return haul

    def _ends(self, record: Stored) -> Int64s:
        if self._measured is None or self._measured[0] is not record:
            self._measured = record, _ends(record.batch)
        return self._measured[1]

    def _chosen(self, piece: Slice) -> Iterator[tuple[int, int]]:
        """The events of a slice that have the key, neighbours together."""
        if self._key is None:
            yield piece.start, piece.stop
            return
        batch, nbytes = piece.stored.batch, len(self._key)
        lengths = np.frombuffer(batch.key_len, np.uint16)[piece.start : piece.stop]
        for i in (np.flatnonzero(lengths == nbytes) + piece.start).tolist():
            if batch.key(i) == self._key:
                yield i, i + 1


class _Run(NamedTuple):
    """Events `start` … `stop` - 1 of a record; the first has the place `number` among those asked for."""

    start: int
    stop: int
    number: int


class _Haul:
    """Events copied out of their records, in the order of the log."""

    def __init__(self, room: int) -> None:
        #: Bytes that may still be copied; the first event always fits.
        self.room = room - _BATCH_BYTES
        #: How many of those asked for are in here, or were passed over.
        self.taken = 0
        self._batches: list[EventBatch] = []
        #: Of each event: its place among those asked for, and when it was published.
        self._numbers: list[Int64s] = []
        self._published_ms: list[Int64s] = []

    def pick(
        self, piece: Slice, chosen: Iterator[tuple[int, int]], ends: Int64s, runs: list[_Run]
    ) -> bool:
        """Add to `runs` what is chosen of a slice and fits; whether all of it does.

        `ends` says how large the events of its record are up to each.
        """
        first = self.taken - piece.start
        for start, stop in chosen:
            fits = int(np.searchsorted(ends, ends[start] + self.room, side="right")) - 1
            if not self._batches and not runs:
                fits = max(fits, start + 1)
            fits = min(fits, stop)
            if fits > start:
                runs.append(_Run(start, fits, first + start))
                self.room -= int(ends[fits] - ends[start])
            if fits < stop:
                self.taken = first + max(fits, start)
                return False
        self.taken = first + piece.stop
        return True

    def copy(self, stored: Stored, runs: Sequence[_Run]) -> None:
        """Copy runs of one record."""
        if not runs:
            return
        numbers = [np.arange(n, n + stop - start, dtype=np.int64) for start, stop, n in runs]
        self._numbers += numbers
        if len(runs) == 1:
            self._batches.append(_copy(stored.batch, runs[0].start, runs[0].stop))
        else:
            indices = [i for start, stop, _ in runs for i in range(start, stop)]
            self._batches.append(stored.batch.select(indices))
        count = self._batches[-1].count
        self._published_ms.append(np.full(count, stored.published_ms, np.int64))

    def hoard(self, first: int, order: Int64s) -> _Hoard | None:
        """What was copied, to be taken in the wanted order.

        `first` is the index of the first event asked for, `order` the place of each in the order wanted.
        """
        if not self._batches:
            return None
        chosen = first + order[np.concatenate(self._numbers)]
        return _Hoard(_joined(self._batches), chosen, np.concatenate(self._published_ms))


class _Hoard:
    """Fetched events, taken in order."""

    def __init__(self, batch: EventBatch, chosen: Int64s, published_ms: Int64s) -> None:
        self._batch = batch
        #: The order to take them in; None: as they are.
        self._ranks = None if (np.diff(chosen) > 0).all() else np.argsort(chosen)
        if self._ranks is not None:
            chosen, published_ms = chosen[self._ranks], published_ms[self._ranks]
        self._chosen = chosen
        self._published_ms = published_ms
        #: How large the events are up to each, in the order of taking; None: not measured.
        self._ends: Int64s | None = None
        self._taken = 0

    @property
    def empty(self) -> bool:
        """Whether everything is taken."""
        return self._taken == self._batch.count

    def take(self, room: int) -> Page:
        """As many events as fit into `room` bytes, one at least."""
        start = self._taken
        self._taken = stop = self._fitting(start, room)
        if self._ranks is None:
            batch = _part(self._batch, start, stop)
        else:
            batch = self._batch.select(self._ranks[start:stop].tolist())
        return Page(self._chosen[start:stop], self._published_ms[start:stop], batch)

    def _fitting(self, start: int, room: int) -> int:
        if start == 0 and len(self._batch.blob) <= room:
            return self._batch.count
        if self._ends is None:
            self._ends = _ends(self._batch)
            if self._ranks is not None:
                sizes = np.diff(self._ends)[self._ranks]
                self._ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        full = self._ends[start] + room - _BATCH_BYTES
        fits = int(np.searchsorted(self._ends, full, side="right")) - 1
        return min(max(fits, start + 1), self._batch.count)


def _part(batch: EventBatch, start: int, stop: int) -> EventBatch:
    return batch if (start, stop) == (0, batch.count) else _copy(batch, start, stop)


def _copy(batch: EventBatch, start: int, stop: int) -> EventBatch:
    """Events in bytes of their own, so that they do not keep a whole record in memory."""
    builder = BatchBuilder()
    builder.add(batch, start, stop)
    return EventBatch(builder.build())


def _joined(batches: Sequence[EventBatch]) -> EventBatch:
    if len(batches) == 1:
        return batches[0]
    builder = BatchBuilder()
    for batch in batches:
        builder.add(batch, 0, batch.count)
    return EventBatch(builder.build())


def _ends(batch: EventBatch) -> Int64s:
    """How large the events of a batch are up to each; one more entry than events."""
    sizes = np.frombuffer(batch.payload_len, np.uint32).astype(np.int64) + _ROW_BYTES
    sizes += np.frombuffer(batch.meta_len, np.uint32)
    sizes += np.frombuffer(batch.key_len, np.uint16)
    sizes += np.frombuffer(batch.id_len, np.uint8)
    if batch.expiry_len:
        sizes += np.frombuffer(batch.expiry_len, np.uint8)
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))

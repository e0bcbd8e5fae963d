"""Reading stored events back: by offset, and by position through the FIRE records.

Decoded records are kept in one cache per node, least recently used out first, bounded in bytes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.carried import CarriedIndex
from chronosdb.node.partition.carry import Carry
from chronosdb.node.partition.due import Due, Int64s, joined
from chronosdb.node.partition.records import Kind
from chronosdb.wal import Log, OutOfRange, Record
from chronosdb.wire import BatchBuilder, EventBatch


class Stored(NamedTuple):
    """A PUBLISH record, decoded."""

    batch: EventBatch
    #: The offset of its first event.
    start: int
    published_ms: int

    @property
    def stop(self) -> int:
        """The offset after its last event."""
        return self.start + self.batch.count

    def ids(self) -> dict[bytes, int]:
        """The offset of each event by id: of the last, where a batch that is not checked has an id twice."""
        return dict(zip(self.batch.ids(), range(self.start, self.stop), strict=True))


class Fired(NamedTuple):
    """A FIRE record, decoded: `due.offsets[i]` has position `start` + i."""

    due: Due
    start: int

    @property
    def stop(self) -> int:
        """The position after its last."""
        return self.start + self.due.size


class Slice(NamedTuple):
    """Neighbouring events of one record: `start` … `stop` - 1 of `stored.batch`."""

    stored: Stored
    start: int
    stop: int


#: Records of one kind of one log. CARRY records are kept by their lsn.
Shelf = tuple[bytes, Kind]


_Cached = Stored | Fired | Carry


class RecordCache:
    """Decoded records of every partition of a node, at most `limit_bytes` of them.

    A record is found by any offset (or position) that it holds: events that come due are spread
    over many records, and asking the log for each would cost more than delivering it.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._size = 0
        #: Least recently used first. Invariant: its keys are the `_starts`.
        self._entries: OrderedDict[tuple[Shelf, int], tuple[_Cached, int]] = OrderedDict()
        #: The first offset (or position) of each record here, in order.
        self._starts: dict[Shelf, list[int]] = {}

    def find(self, shelf: Shelf, at: int) -> _Cached | None:
        """The record that holds offset (or position, or lsn) `at`, if it is here."""
        starts = self._starts.get(shelf, ())
        i = bisect_right(starts, at) - 1
        if i < 0:
            return None
        value, _ = self._entries[shelf, starts[i]]
        if at >= value.stop:
            return None
        self._entries.move_to_end((shelf, starts[i]))
        return value

    def put(self, shelf: Shelf, value: _Cached, nbytes: int) -> None:
        """Keep a record; older ones make room."""
        if (shelf, value.start) in self._entries:
            return
        self._entries[shelf, value.start] = (value, nbytes)
        insort(self._starts.setdefault(shelf, []), value.start)
        self._size += nbytes
        while self._size > self._limit and len(self._entries) > 1:
            self._evict()

    def _evict(self) -> None:
        (shelf, start), (_, nbytes) = self._entries.popitem(last=False)
        starts = self._starts[shelf]
        del starts[bisect_left(starts, start)]
        self._size -= nbytes


class EventReader:
    """One partition's events and delivery order, read from its log."""

    def __init__(self, log: Log, log_id: bytes, cache: RecordCache, carried: CarriedIndex) -> None:
        self._log = log
        self._carried = carried
        self._log_id = log_id
        self._cache = cache
        self._events: Shelf = (log_id, Kind.PUBLISH)
        self._fires: Shelf = (log_id, Kind.FIRE)
        self._carries: Shelf = (log_id, Kind.CARRY)
        self._last: Stored | None = None

    def remember(self, value: Stored | Fired, nbytes: int) -> None:
        """A record of `nbytes` that was just written: most are read again within the millisecond."""
        self._cache.put(self._events if isinstance(value, Stored) else self._fires, value, nbytes)

    def apart(self, cache: RecordCache) -> EventReader:
        """Another reader of the same events, which shares no cache with this one."""
        return EventReader(self._log, self._log_id, cache, self._carried)

    def stored(self, offset: int) -> Stored:
        """The record that holds the event at `offset`; of one that was carried, its run.

        Raises:
            OutOfRange: there is none, or no more.
            DamagedRecord: its bytes on disk are not what was written.
        """
        last = self._last
        if last is None or not 0 <= offset - last.start < last.batch.count:
            found = self._cache.find(self._events, offset)
            if found is None:
                found = self._fetch(offset)
            assert isinstance(found, Stored)
            self._last = last = found
        return last

    def _fetch(self, offset: int) -> Stored:
        try:
            found = self._read(self._log.at_offset(offset))
        except OutOfRange:
            lsn = self._carried.find(offset)
            if lsn is None:
                raise
            run = self._carry(lsn).run_with(offset)
            builder = BatchBuilder()
            builder.add(run.batch, run.first, run.stop)
            return Stored(EventBatch(builder.build()), run.offset, run.published_ms)
        assert isinstance(found, Stored)
        return found

    def _carry(self, lsn: int) -> Carry:
        found = self._cache.find(self._carries, lsn)
        if found is None:
            record = self._log.read(lsn)
            found = Carry(record)
            self._cache.put(self._carries, found, len(record.body))
        assert isinstance(found, Carry)
        return found

    def fired(self, start: int, stop: int) -> Due:
        """The offsets at positions `start` … `stop` - 1, and when they were due; raises as `stored`."""
        parts = []
        while start < stop:
            found = self._cache.find(self._fires, start)
            if found is None:
                found = self._read(self._log.at_position(start))
            assert isinstance(found, Fired)
            span = slice(start - found.start, stop - found.start)
            parts.append(Due(found.due.due_ms[span], found.due.offsets[span]))
            start += parts[-1].size
        return joined(parts)

    def slices(self, offsets: Int64s) -> Iterator[Slice]:
        """The events at `offsets`, in this order, neighbours of one record together."""
        breaks = np.flatnonzero(np.diff(offsets) != 1) + 1
        bounds = [0, *breaks.tolist(), len(offsets)]
        places = offsets.tolist()
        for first, after in pairwise(bounds):
            offset = places[first]
            end = offset + after - first
            while offset < end:
                stored = self.stored(offset)
                start = stored.start
                stop = min(end, start + stored.batch.count)
                yield Slice(stored, offset - start, stop - start)
                offset = stop

    def _read(self, record: Record) -> Stored | Fired:
        value = decode(record)
        self.remember(value, len(record.body))
        return value


def decode(record: Record) -> Stored | Fired:
    """A PUBLISH or FIRE record, decoded."""
    if record.kind == Kind.PUBLISH:
        return Stored(records.read_batch(record), record.offset, record.ts_ms)
    assert record.kind == Kind.FIRE, f"a record of kind {record.kind} holds no events"
    return Fired(records.read_due(record), record.position)


def first_since(log: Log, ms: int) -> Record | None:
    """The first record that was written at `ms` or later; None: there is none yet."""
    while True:
        start_lsn = log.start_lsn
        try:
            return log.at_time(ms)
        except OutOfRange:
            # Unless the log lost its oldest part just while it was asked.
            if log.start_lsn == start_lsn:
                return None

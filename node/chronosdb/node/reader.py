"""Reading stored events back: by offset, and by position through the FIRE records.

Decoded records are kept in one cache per node, least recently used out first, bounded in bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from chronosdb.node import records
from chronosdb.node.due import Due, Int64s, joined
from chronosdb.node.records import Kind
from chronosdb.wal import Log, Record
from chronosdb.wire import EventBatch


class Stored(NamedTuple):
    """A PUBLISH record, decoded."""

    batch: EventBatch
    first_offset: int
    published_ms: int

    @property
    def stop(self) -> int:
        """The offset after its last event."""
        return self.first_offset + self.batch.count


class Fired(NamedTuple):
    """A FIRE record, decoded: `due.offsets[i]` has position `first_position` + i."""

    due: Due
    first_position: int


class Slice(NamedTuple):
    """Neighbouring events of one record: `start` … `stop` - 1 of `stored.batch`."""

    stored: Stored
    start: int
    stop: int


class RecordCache:
    """Decoded records of every partition of a node, at most `limit_bytes` of them."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._entries: OrderedDict[tuple[bytes, int], tuple[Stored | Fired, int]] = OrderedDict()

    def get(self, key: tuple[bytes, int]) -> Stored | Fired | None:
        """The record at (log id, lsn), if it is here."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: tuple[bytes, int], value: Stored | Fired, nbytes: int) -> None:
        """Keep a record; older ones make room."""
        if key in self._entries:
            return
        self._entries[key] = (value, nbytes)
        self._size += nbytes
        while self._size > self._limit and len(self._entries) > 1:
            _, (_, freed) = self._entries.popitem(last=False)
            self._size -= freed


class EventReader:
    """One partition's events and delivery order, read from its log."""

    def __init__(self, log: Log, log_id: bytes, cache: RecordCache) -> None:
        self._log = log
        self._log_id = log_id
        self._cache = cache
        self._last: Stored | None = None

    def remember(self, record: Record, value: Stored | Fired) -> None:
        """A record that was just written: most are read again within the millisecond."""
        self._cache.put((self._log_id, record.lsn), value, len(record.body))

    def stored(self, offset: int) -> Stored:
        """The record that holds the event at `offset`.

        Raises:
            OutOfRange: no such offset in the log.
            DamagedRecord: its bytes on disk are not what was written.
        """
        last = self._last
        if last is None or not last.first_offset <= offset < last.stop:
            found = self._load(self._log.find_offset(offset))
            assert isinstance(found, Stored)
            self._last = last = found
        return last

    def fired(self, start: int, stop: int) -> Due:
        """The offsets at positions `start` … `stop` - 1, and when they were due."""
        parts = []
        while start < stop:
            fired = self._load(self._log.find_position(start))
            assert isinstance(fired, Fired)
            skip = start - fired.first_position
            due = fired.due
            span = slice(skip, skip + stop - start)
            parts.append(Due(due.due_ms[span], due.offsets[span]))
            start += parts[-1].size
        return joined(parts)

    def slices(self, offsets: Int64s) -> Iterator[Slice]:
        """The events at `offsets`, in this order, neighbours of one record together."""
        breaks = np.flatnonzero(np.diff(offsets) != 1) + 1
        bounds = [0, *breaks.tolist(), len(offsets)]
        for first, after in pairwise(bounds):
            offset = int(offsets[first])
            end = offset + after - first
            while offset < end:
                stored = self.stored(offset)
                stop = min(end, stored.stop)
                yield Slice(stored, offset - stored.first_offset, stop - stored.first_offset)
                offset = stop

    def _load(self, lsn: int) -> Stored | Fired:
        value = self._cache.get((self._log_id, lsn))
        if value is None:
            record = self._log.read(lsn)
            value = decode(record)
            self.remember(record, value)
        return value


def decode(record: Record) -> Stored | Fired:
    """A PUBLISH or FIRE record, decoded."""
    if record.kind == Kind.PUBLISH:
        return Stored(records.read_batch(record), record.offset, record.ts_ms)
    assert record.kind == Kind.FIRE, f"a record of kind {record.kind} holds no events"
    return Fired(records.read_due(record), record.position)

"""Courses: which events come next, in publish order and in delivery order.

Both orders are those of the log, so a course is one number that grows: an offset, or a position.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.due import Due, Int64s, joined
from chronosdb.node.partition.history import History
from chronosdb.node.partition.reader import Stored
from chronosdb.node.partition.records import Kind
from chronosdb.wal import DamagedRecord, Record

#: Beyond any offset, position and time.
UNBOUNDED: Final = 2**63 - 1
#: Of single events, about so many make one answer; the log is read so far for them.
_ROWS: Final = 4096
_STRETCH_BYTES: Final = 256 * 1024


class Span(NamedTuple):
    """A half-open range of times."""

    start_ms: int
    end_ms: int


class Rows(NamedTuple):
    """Events in the order of a replay."""

    offsets: Int64s
    #: When each is due, or was when it fired; None: as published.
    due_ms: Int64s | None = None
    #: Of the first of them; the others follow densely. None: positions are not known here.
    first_position: int | None = None
    #: When each fired, where positions are known.
    fired_ms: Int64s | None = None


NO_ROWS: Final = Rows(np.empty(0, np.int64))


class Course(Protocol):
    """Where the events of a replay come from."""

    async def next(self) -> Rows | None:
        """The next rows; none of them: there is nothing more for now; None: nor will there be.

        Raises:
            OutOfRange: the log does not reach back there any more.
            DamagedRecord: the log's bytes are not what was written.
        """
        ...


class PublishCourse:
    """Events by offset, from `at` to before `stop`, of those that were published in `span`."""

    def __init__(self, history: History, at: int, stop: int, span: Span, *, follows: bool) -> None:
        self._history = history
        self._at = at
        self._stop = stop
        self._span = span
        self._follows = follows

    async def next(self) -> Rows | None:
        """See `Course.next`."""
        committed = min(self._stop, self._history.end_offset)
        while self._at < committed:
            first = self._history.reader.stored(self._at)
            if first.published_ms >= self._span.end_ms:
                return None
            # Of records that are small, many at once.
            stop = min(max(first.stop, self._at + _ROWS), committed)
            if not self._are_all_wanted(first, stop):
                stop = min(first.stop, committed)
            start, self._at = self._at, stop
            if first.published_ms >= self._span.start_ms:
                return Rows(np.arange(start, stop, dtype=np.int64))
        return NO_ROWS if self._follows and self._at < self._stop else None

    def _are_all_wanted(self, first: Stored, stop: int) -> bool:
        """Whether all events from a record on to before `stop` were published in the span."""
        if stop <= first.stop:
            return True
        last = self._history.reader.stored(stop - 1)
        return self._span.start_ms <= first.published_ms <= last.published_ms < self._span.end_ms


class FireCourse:
    """Events by position, from `at` to before `stop`, of those that fired in `span`."""

    def __init__(self, history: History, at: int, stop: int, span: Span, *, follows: bool) -> None:
        self._history = history
        self._at = at
        self._stop = stop
        self._span = span
        self._follows = follows

    async def next(self) -> Rows | None:
        """See `Course.next`."""
        committed = min(self._stop, self._history.end_position)
        while self._at < committed:
            record = self._history.log.at_position(self._at)
            if record.ts_ms >= self._span.end_ms:
                return None
            if record.ts_ms >= self._span.start_ms:
                return self._rows(record, committed)
            self._at = min(record.position + record.positions, committed)
        return NO_ROWS if self._follows and self._at < self._stop else None

    def _rows(self, first: Record, committed: int) -> Rows:
        """What fired by this record and, if that is little, by those that follow soon after it."""
        start, dues, times = self._at, [], []
        try:
            for record in self._history.log.scan(first.lsn, self._history.end_lsn):
                if record.ts_ms >= self._span.end_ms or record.lsn - first.lsn > _STRETCH_BYTES:
                    break
                if record.kind == Kind.FIRE:
                    skip = slice(self._at - record.position, committed - record.position)
                    due_ms, offsets = records.read_due(record)
                    dues.append(Due(due_ms[skip], offsets[skip]))
                    times.append(np.full(dues[-1].size, record.ts_ms, np.int64))
                    self._at += dues[-1].size
                    if self._at - start >= _ROWS or self._at == committed:
                        break
        except DamagedRecord:
            # Damage on the way need not be in what is wanted next: then who looks there finds out.
            if not dues:
                raise
        due_ms, offsets = joined(dues)
        return Rows(offsets, due_ms, start, np.concatenate(times))

"""Courses: which events come next, in publish order and in delivery order.

Both orders are those of the log, so a course is one number that grows: an offset, or a position.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.due import Int64s
from chronosdb.node.partition.history import History

#: Beyond any offset, position and time.
UNBOUNDED: Final = 2**63 - 1


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
    #: When they fired; all in one record.
    fired_ms: int = 0


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
            stored = self._history.reader.stored(self._at)
            if stored.published_ms >= self._span.end_ms:
                return None
            first, self._at = self._at, min(stored.stop, committed)
            if stored.published_ms >= self._span.start_ms:
                return Rows(np.arange(first, self._at, dtype=np.int64))
        return NO_ROWS if self._follows and self._at < self._stop else None


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
        log = self._history.log
        committed = min(self._stop, self._history.end_position)
        while self._at < committed:
            record = log.at_position(self._at)
            if record.ts_ms >= self._span.end_ms:
                return None
            skip = slice(self._at - record.position, committed - record.position)
            first, self._at = self._at, min(record.position + record.positions, committed)
            if record.ts_ms >= self._span.start_ms:
                due = records.read_due(record)
                return Rows(due.offsets[skip], due.due_ms[skip], first, record.ts_ms)
        return NO_ROWS if self._follows and self._at < self._stop else None

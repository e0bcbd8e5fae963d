"""The course in order of (schedule_ts, offset), over events pending and fired alike.

No index holds this order for what has fired, so it is found by selection: each pass over the log keeps
the smallest rows behind the last one sent, a window of them, whatever the number of events. Passes are
kept short by a survey, made once: for each stretch of the log, the due times that occur in it. Where
events are stored roughly in the order in which they are due, a pass reads only what it sends.

What the log says is taken literally. PUBLISH, MOVE and CARRY each say "this offset is due then"; the
last one below the cut holds. So a window may contain rows that a later MOVE made stale; they are struck out
afterwards, as are events that are cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.carry import Carry
from chronosdb.node.partition.due import NOTHING, Due, Int64s, joined
from chronosdb.node.partition.history import Breath, History
from chronosdb.node.partition.records import Kind
from chronosdb.node.replay.courses import UNBOUNDED, Rows, Span
from chronosdb.wal import Record
from chronosdb.wire.batch import NOW

#: Rows in one window; twice as many are held while it is selected, 16 bytes each.
_WINDOW: Final = 131_072
#: Pieces of a window that are held apart, at most: arrays cost memory too.
_PIECES: Final = 4096
#: A stretch is at least so long, and there are at most so many of them.
_STRETCH_BYTES: Final = 1024 * 1024
_STRETCHES: Final = 16_384

#: (schedule_ts, offset) of an event.
Place = tuple[int, int]


@dataclass(slots=True)
class _Extent:
    """The smallest and the largest of some numbers; of none, an empty range."""

    low: int = UNBOUNDED
    high: int = -UNBOUNDED

    def add(self, numbers: Int64s) -> None:
        if len(numbers):
            self.low = min(self.low, int(numbers.min()))
            self.high = max(self.high, int(numbers.max()))

    def meets(self, low: int, high: int) -> bool:
        return self.low <= high and low <= self.high


class _Stretch:
    """A part of the log: what lies in it."""

    def __init__(self, start_lsn: int) -> None:
        self.start_lsn = self.stop_lsn = start_lsn
        #: Due times of the range, as PUBLISH and MOVE say them.
        self.due = _Extent()
        #: Offsets that a MOVE in here is about.
        self.moved = _Extent()


class ScheduleCourse:
    """Events due in `span`, behind `after`, of the log below `cut_lsn`."""

    def __init__(
        self,
        history: History,
        cut_lsn: int,
        span: Span,
        *,
        after: Place,
    ) -> None:
        self._history = history
        self._cut_lsn = cut_lsn
        self._after = after
        self._span = span
        self._window = _WINDOW
        self._breath = Breath()
        #: Invariant: every stretch that holds a row of the range or a MOVE; None before the survey.
        self._stretches: list[_Stretch] | None = None
        #: The last window was not full: there is nothing behind it.
        self._exhausted = False

    async def next(self) -> Rows | None:
        """See `Course.next`; this one follows nothing, and its rows are never none."""
        if self._stretches is None:
            self._stretches = await self._survey()
        while not self._exhausted:
            window = await self._select(self._stretches)
            self._exhausted = window.size < self._window
            if window.size:
                self._after = _last(window)
                current = await self._current(window, self._stretches)
                if current.size:
                    return Rows(current.offsets, current.due_ms)
        return None

    async def _survey(self) -> list[_Stretch]:
        """One pass over the log, for what there is and where."""
        start_lsn = self._history.log.start_lsn
        nbytes = max(_STRETCH_BYTES, (self._cut_lsn - start_lsn) // _STRETCHES)
        stretches: list[_Stretch] = []
        current = _Stretch(start_lsn)
        for record, due in self._said(start_lsn, self._cut_lsn):
            if record.lsn >= current.start_lsn + nbytes:
                stretches.append(current)
                current = _Stretch(record.lsn)
            current.stop_lsn = record.next_lsn
            current.due.add(self._inside(due).due_ms)
            if record.kind == Kind.MOVE:
                current.moved.add(due.offsets)
            await self._breath.after(len(record.body))
        stretches.append(current)
        kept = [s for s in stretches if s.due.low < UNBOUNDED or s.moved.low < UNBOUNDED]
        return sorted(kept, key=lambda stretch: stretch.due.low)

    async def _select(self, stretches: list[_Stretch]) -> Due:
        """The next rows that the log speaks of, a window at most, in order."""
        found: list[Due] = []
        count = 0
        last: Place = (UNBOUNDED, UNBOUNDED)
        for stretch in stretches:
            if stretch.due.low > last[0]:
                break  # and so is every one after it
            if stretch.due.high < self._after[0]:
                continue
            for record, due in self._said(stretch.start_lsn, stretch.stop_lsn):
                rows = _up_to(_behind(self._inside(due), self._after), last)
                if rows.size:
                    found.append(rows)
                    count += rows.size
                if count >= 2 * self._window:
                    found = [await self._smallest(found)]
                    count, last = found[0].size, _last(found[0])
                elif len(found) >= _PIECES:
                    found = [joined(found)]
                await self._breath.after(len(record.body))
        return await self._smallest(found)

    async def _smallest(self, found: list[Due]) -> Due:
        ordered = await self._history.threads.run(joined(found).ordered)
        return Due(ordered.due_ms[: self._window], ordered.offsets[: self._window])

    async def _current(self, window: Due, stretches: list[_Stretch]) -> Due:
        """Those of a window that hold: the last word on the event, once, and it is not cancelled."""
        offsets = np.unique(window.offsets)
        low, high = int(offsets[0]), int(offsets[-1])
        latest = np.full(len(offsets), NOW, np.int64)
        moves = [stretch for stretch in stretches if stretch.moved.meets(low, high)]
        for stretch in sorted(moves, key=lambda stretch: stretch.start_lsn):
            for record, due in self._said(stretch.start_lsn, stretch.stop_lsn):
                if record.kind == Kind.MOVE:
                    places = np.searchsorted(offsets, due.offsets)
                    places[places == len(offsets)] = 0
                    ours = offsets[places] == due.offsets
                    latest[places[ours]] = due.due_ms[ours]
                await self._breath.after(len(record.body))
        said = latest[np.searchsorted(offsets, window.offsets)]
        holds = (said == NOW) | (said == window.due_ms)
        # Moved away and back: the log says the same twice.
        holds[1:] &= (np.diff(window.due_ms) != 0) | (np.diff(window.offsets) != 0)
        holds &= ~np.isin(window.offsets, self._history.cancelled(offsets))
        return window.where(holds)

    def _inside(self, due: Due) -> Due:
        return due.where((due.due_ms >= self._span.start_ms) & (due.due_ms < self._span.end_ms))

    def _said(self, start_lsn: int, stop_lsn: int) -> Iterator[tuple[Record, Due]]:
        """The records of a part of the log, and when each says what is due."""
        return ((r, _said_by(r)) for r in self._history.log.scan(start_lsn, stop_lsn))


def _said_by(record: Record) -> Due:
    match record.kind:
        case Kind.PUBLISH:
            due_ms = np.frombuffer(records.read_batch(record).due, np.int64)
            return Due(due_ms, np.arange(record.offset, record.offset + len(due_ms)))
        case Kind.MOVE:
            return records.read_due(record)
        case Kind.CARRY:
            carry = Carry(record)
            return Due(carry.due_ms, carry.offsets)
    return NOTHING


def _last(due: Due) -> Place:
    return int(due.due_ms[-1]), int(due.offsets[-1])


def _behind(due: Due, place: Place) -> Due:
    at, offset = place
    return due.where((due.due_ms > at) | ((due.due_ms == at) & (due.offsets > offset)))


def _up_to(due: Due, place: Place) -> Due:
    at, offset = place
    return due.where((due.due_ms < at) | ((due.due_ms == at) & (due.offsets <= offset)))

"""The timers of a partition in order of time: rows of the store, and what came since the last checkpoint.

Time is cut into slices. A checkpoint writes one row for each slice in which something new is due, so
that what is due soon can be read without the rest. Nothing is ever taken out of a row: who reads one
passes over what is not pending any more, and a slice goes as a whole when its time is over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

import numpy as np

from chronosdb.node.partition import timer_row
from chronosdb.node.partition.due import Due, joined
from chronosdb.wal import KeyValue

#: Before all times, and after all of them.
BEGINNING_MS: Final = -(1 << 63)
NEVER_MS: Final = (1 << 63) - 1
#: A slice has 2**14 ms (about 16 seconds).
_SLICE_BITS: Final = 14
#: (slice, lsn of the checkpoint that wrote the row).
_ROW_KEY: Final = struct.Struct(">QQ")
_ROWS: Final = b"row:"
_ROWS_END: Final = b"row;"
#: A slice of very many is read again for each part that is taken of it: for at most so many parts.
_PARTS_MAX: Final = 8
#: Timers shown at a time.
_SHOWN: Final = 4096


@dataclass(frozen=True, slots=True)
class Portion:
    """Timers of rows of the store, from `start_ms` up to but not including `end_ms`; None: all."""

    due: Due
    start_ms: int
    end_ms: int | None

    def parts(self, size: int) -> list[Portion]:
        """The same in turn, each of about `size`; all of one millisecond stay together."""
        if self.due.size <= size:
            return [self]
        due = _by_time(self.due)
        cuts_ms = np.unique(due.due_ms[size::size])
        cuts = np.searchsorted(due.due_ms, cuts_ms).tolist()
        bounds = pairwise([(0, self.start_ms), *zip(cuts, cuts_ms.tolist(), strict=True)])
        parts = [
            Portion(Due(due.due_ms[first:stop], due.offsets[first:stop]), start_ms, end_ms)
            for (first, start_ms), (stop, end_ms) in bounds
        ]
        last, last_ms = cuts[-1], int(cuts_ms[-1])
        rest = Due(due.due_ms[last:], due.offsets[last:])
        return [*parts, Portion(rest, last_ms, self.end_ms)]


@dataclass(frozen=True, slots=True)
class View:
    """What slices hold from `start_ms` to before `stop_ms`: still the same while a thread reads it."""

    store: KeyValue
    start_ms: int
    stop_ms: int
    #: What is in no row, or in rows of the checkpoint `hidden_lsn`, which is being written.
    recent: Sequence[Due]
    hidden_lsn: int | None

    def first(self, wanted: int) -> Portion:
        """Up to when about `wanted` timers are due, recent ones counted; of these, those in rows."""
        rows: list[bytes] = []
        count = 0
        end_ms: int | None = None
        for number, found in self._slices():
            rows += found
            count += sum(map(timer_row.count, found))
            end_ms = _first_ms(number + 1)
            if count + sum(_until(run, end_ms).size for run in self.recent) > wanted:
                break
        else:
            end_ms = None
        stored = _between(joined(list(map(timer_row.unpacked, rows))), self.start_ms, self.stop_ms)
        recent = self.recent if end_ms is None else [_until(run, end_ms) for run in self.recent]
        dues_ms = np.concatenate([stored.due_ms, *(run.due_ms for run in recent)])
        wanted = max(wanted, count // _PARTS_MAX)
        if len(dues_ms) > wanted:
            # All of one millisecond stay together.
            end_ms = max(int(np.partition(dues_ms, wanted)[wanted]), int(dues_ms.min()) + 1)
            stored = stored.where(stored.due_ms < end_ms)
        return Portion(stored, self.start_ms, end_ms)

    def _slices(self) -> Iterator[tuple[int, list[bytes]]]:
        """The rows of each slice that has any."""
        bounds = _row_key(_slice(self.start_ms), 0), _row_key(_slice(self.stop_ms - 1) + 1, 0)
        for number, rows in groupby(self.store.scan(*bounds), lambda row: _row_place(row[0])[0]):
            # Those of the running checkpoint may be in the store already: they are in memory still.
            yield number, [row for key, row in rows if _row_place(key)[1] != self.hidden_lsn]


class Slices:
    """All timers that are not over, and some that are."""

    def __init__(self, store: KeyValue) -> None:
        self._store = store
        self.clear()

    def clear(self) -> None:
        """Hold nothing in memory."""
        #: Since the last checkpoint began: about `checkpoint_bytes` of log bound them.
        self._unsaved = _Runs()
        #: What the running checkpoint is writing, and its lsn: rows of that are not looked at meanwhile.
        self._saving = _Runs()
        self._saving_lsn: int | None = None

    def add(self, due: Due) -> None:
        """Take in timers."""
        self._unsaved.add(due)

    def recent(self, start_ms: int, stop_ms: int) -> list[Due]:
        """Timers due in [start_ms, stop_ms) of which no row is looked at yet."""
        runs = [*self._saving.ordered(), *self._unsaved.ordered()]
        return [_until(_since(run, start_ms), stop_ms) for run in runs]

    def view(self, start_ms: int, stop_ms: int = NEVER_MS) -> View:
        """What there is from `start_ms` to before `stop_ms`."""
        recent = self.recent(start_ms, stop_ms)
        return View(self._store, start_ms, stop_ms, recent, self._saving_lsn)

    def between(self, start_ms: int, end_ms: int) -> Iterator[Due]:
        """What is due in [start_ms, end_ms), some at a time; each as it is when it is asked for."""
        next_ms: int | None = start_ms
        while next_ms is not None and next_ms < end_ms:
            portion = self.view(next_ms, end_ms).first(_SHOWN)
            stop_ms = end_ms if portion.end_ms is None else min(portion.end_ms, end_ms)
            yield joined([portion.due, *self.recent(next_ms, stop_ms)])
            next_ms = portion.end_ms

    def begin_checkpoint(self, lsn: int, since_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """The rows to write; those due before `since_ms` are over. To be iterated by any thread."""
        assert not self._saving
        self._saving, self._unsaved = self._unsaved, _Runs()
        self._saving_lsn = lsn if self._saving else None
        return _rows(self._saving.parts(), lsn, since_ms)

    def end_checkpoint(self) -> None:
        """The rows of `begin_checkpoint` are in the store."""
        self._saving = _Runs()
        self._saving_lsn = None


class _Runs:
    """Timers in memory, put in order when somebody asks for them."""

    def __init__(self) -> None:
        self._added: list[Due] = []
        # Invariant: by time, and each was more than twice as long as the next when that one came.
        self._runs: list[Due] = []

    def __bool__(self) -> bool:
        return bool(self._added or self._runs)

    def add(self, due: Due) -> None:
        self._added.append(due)

    def parts(self) -> list[Due]:
        """All of them, as they lie."""
        return [*self._runs, *self._added]

    def ordered(self) -> list[Due]:
        """All of them, in a few runs by time."""
        if self._added:
            run = _by_time(joined(self._added))
            self._added.clear()
            while self._runs and run.size * 2 >= self._runs[-1].size:
                run = _by_time(joined([self._runs.pop(), run]))
            self._runs.append(run)
        return self._runs


def stale_rows(before_ms: int | None) -> tuple[bytes, bytes]:
    """The key range of rows in which all is due before this time; None: of all rows."""
    return _ROWS, _ROWS_END if before_ms is None else _row_key(_slice(before_ms), 0)


def _rows(parts: list[Due], lsn: int, since_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """One row per slice."""
    due = joined(parts)
    due = due.where(due.due_ms >= since_ms)
    slices = np.maximum(due.due_ms, 0) >> _SLICE_BITS
    order = np.argsort(slices, kind="stable")
    due, slices = due.where(order), slices[order]
    ends = np.flatnonzero(np.diff(slices, append=NEVER_MS)) + 1
    for start, stop in pairwise([0, *ends.tolist()]):
        part = Due(due.due_ms[start:stop], due.offsets[start:stop])
        yield _row_key(int(slices[start]), lsn), timer_row.packed(part)


def _between(due: Due, start_ms: int, stop_ms: int) -> Due:
    return due.where((due.due_ms >= start_ms) & (due.due_ms < stop_ms))


def _by_time(due: Due) -> Due:
    return due.where(np.argsort(due.due_ms, kind="stable"))


def _since(run: Due, start_ms: int) -> Due:
    first = int(np.searchsorted(run.due_ms, start_ms))
    return Due(run.due_ms[first:], run.offsets[first:])


def _until(run: Due, stop_ms: int) -> Due:
    stop = int(np.searchsorted(run.due_ms, stop_ms))
    return Due(run.due_ms[:stop], run.offsets[:stop])


def _row_key(number: int, lsn: int) -> bytes:
    return _ROWS + _ROW_KEY.pack(number, lsn)


def _row_place(key: bytes) -> tuple[int, int]:
    """The slice of a row and the lsn of its checkpoint."""
    number, lsn = _ROW_KEY.unpack(key[len(_ROWS) :])
    return number, lsn


def _first_ms(number: int) -> int:
    return number << _SLICE_BITS


def _slice(due_ms: int) -> int:
    return max(due_ms, 0) >> _SLICE_BITS

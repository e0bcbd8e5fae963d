"""CARRY: events of the log's oldest part, stored again at its end, so that the part may be deleted.

An event keeps its offset, the time of its publish and its bytes, the original due time in them: by
those a repeated publish is recognised. Beside them stands when it is due now, and whether it is pending.

Body, little-endian, no padding (r runs of consecutive offsets, n events in all)::

    r u32 | count u32[r] | first offset i64[r] | published i64[r] | due i64[n] | pending u8[n] | EventBatch

Runs are in ascending order of their offsets and do not overlap; events are in the order of their runs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chronosdb.node.partition.due import Int64s
from chronosdb.node.partition.records import Kind
from chronosdb.wal import Draft, OutOfRange, Record
from chronosdb.wire import BatchBuilder, EventBatch

#: Of one record. Small, because a publisher may have to wait for it; not too small, because a reader of
#: one event reads the record.
EVENTS_MAX: Final = 2048
BYTES_MAX: Final = 256 * 1024

_COUNT_BYTES: Final = 4
#: Of each event beside its id and body: due and pending here, and its row of the batch.
_EVENT_BYTES: Final = 29
_RUN_BYTES: Final = 20

Bools = NDArray[np.bool_]


class Run(NamedTuple):
    """Events `first` … `stop` - 1 of a batch, which are neighbours also by offset."""

    #: Offset of the first of them.
    offset: int
    published_ms: int
    batch: EventBatch
    #: When each event of `batch` is due, which may not be what it was published with.
    due_ms: Int64s
    first: int
    stop: int

    @property
    def size(self) -> int:
        """How many events."""
        return self.stop - self.first

    @property
    def nbytes(self) -> int:
        """What it takes in a record."""
        ids, bodies = self.batch.id_ends, self.batch.body_ends
        variable = ids[self.stop] - ids[self.first] + bodies[self.stop] - bodies[self.first]
        return _RUN_BYTES + _EVENT_BYTES * self.size + variable

    def fitting(self, events: int, nbytes: int) -> int:
        """How many of its events fit into so much."""
        ids, bodies, first = self.batch.id_ends, self.batch.body_ends, self.first

        def size_up_to(i: int) -> int:
            return ids[i] + bodies[i] + _EVENT_BYTES * i

        full = size_up_to(first) + nbytes - _RUN_BYTES
        fits = bisect_right(range(first, self.stop + 1), full, key=size_up_to) - 1
        return max(0, min(fits, events))

    def split(self, count: int) -> tuple[Run, Run]:
        """The first `count` events, and the rest."""
        middle = self.first + count
        rest = self._replace(offset=self.offset + count, first=middle)
        return self._replace(stop=middle), rest


class Load:
    """Events on their way: everything of a CARRY record but what may change until it is written."""

    def __init__(self, runs: Sequence[Run]) -> None:
        """`runs` do not overlap."""
        ordered = sorted(runs, key=lambda run: run.offset)
        builder = BatchBuilder()
        for run in ordered:
            builder.add(run.batch, run.first, run.stop)
        columns = (
            np.array([run.size for run in ordered], "<u4"),
            np.array([run.offset for run in ordered], "<i8"),
            np.array([run.published_ms for run in ordered], "<i8"),
        )
        self._head = len(ordered).to_bytes(_COUNT_BYTES, "little") + b"".join(
            column.tobytes() for column in columns
        )
        self._batch = builder.build()
        self.offsets: Int64s = _spread(columns[1], columns[0])
        self.due_ms = np.concatenate([run.due_ms[run.first : run.stop] for run in ordered])

    @property
    def nbytes(self) -> int:
        """Of the record's body."""
        return len(self._head) + 9 * len(self.offsets) + len(self._batch)

    def draft(self, due_ms: Int64s, pending: Bools, ts_ms: int, epoch: int) -> Draft:
        """The record, with what is true when it is written."""
        body = (self._head, due_ms.astype("<i8").tobytes(), pending.tobytes(), self._batch)
        return Draft(kind=Kind.CARRY, ts_ms=ts_ms, body=body, epoch=epoch)


class Carry:
    """A CARRY record, decoded."""

    def __init__(self, record: Record) -> None:
        body = record.body
        runs = int.from_bytes(body[:_COUNT_BYTES], "little")
        at = _COUNT_BYTES
        self._counts = np.frombuffer(body, "<u4", runs, at).astype(np.int64)
        at += 4 * runs
        #: The first offset of each run.
        self.starts: Int64s = np.frombuffer(body, "<i8", runs, at)
        self._published_ms: Int64s = np.frombuffer(body, "<i8", runs, at + 8 * runs)
        at += 16 * runs
        self._ends: Int64s = np.cumsum(self._counts)
        count = int(self._ends[-1])
        self.due_ms: Int64s = np.frombuffer(body, "<i8", count, at)
        self.pending: Bools = np.frombuffer(body, np.bool_, count, at + 8 * count)
        self.batch = EventBatch(body[at + 9 * count :])
        #: Where the record lies: a cache of records is asked by such numbers.
        self.start, self.stop = record.lsn, record.next_lsn

    @property
    def lasts(self) -> Int64s:
        """The last offset of each run."""
        return self.starts + self._counts - 1

    @property
    def offsets(self) -> Int64s:
        """Of every event."""
        return _spread(self.starts, self._counts)

    @property
    def count(self) -> int:
        """How many events."""
        return len(self.due_ms)

    def runs(self) -> list[Run]:
        """All runs, in order."""
        return [self._run(i) for i in range(len(self.starts))]

    def run_with(self, offset: int) -> Run:
        """The run that holds an offset.

        Raises:
            OutOfRange: none does.
        """
        i = int(np.searchsorted(self.starts, offset, side="right")) - 1
        if i < 0 or offset >= self.starts[i] + self._counts[i]:
            raise OutOfRange(f"offset {offset} was not carried in the record at lsn {self.start}")
        return self._run(i)

    def _run(self, i: int) -> Run:
        stop = int(self._ends[i])
        first = stop - int(self._counts[i])
        start, published_ms = int(self.starts[i]), int(self._published_ms[i])
        return Run(start, published_ms, self.batch, self.due_ms, first, stop)


def _spread(starts: Int64s, counts: NDArray[np.int64]) -> Int64s:
    """Every number of runs of consecutive ones."""
    counts = counts.astype(np.int64)
    shifts = starts - np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)[:-1]))
    return np.repeat(shifts, counts) + np.arange(int(counts.sum()), dtype=np.int64)

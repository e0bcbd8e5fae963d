"""The oldest part of a log, read before it is deleted: what of it must be carried forward.

That is every event whose end, its FIRE or CANCEL, is not in this part too: pending ones, and those that
fired later, which groups and replays still reach. Reading goes in steps of about STEP_BYTES.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.carried import Spans
from chronosdb.node.partition.carry import BYTES_MAX, EVENTS_MAX, Bools, Carry, Load, Run
from chronosdb.node.partition.due import Due, Int64s
from chronosdb.node.partition.records import Kind
from chronosdb.sched import PendingSet
from chronosdb.wal import DamagedRecord, Log, Record

#: Short enough that a thread which reads does not keep the event loop waiting.
STEP_BYTES: Final = 256 * 1024


class Prefix:
    """The records below `stop_lsn`."""

    def __init__(
        self, log: Log, stop_lsn: int, cancelled: PendingSet, *, load_bytes: int = BYTES_MAX
    ) -> None:
        """`cancelled` holds every event that is cancelled now; a load has about `load_bytes` at most."""
        self._log = log
        self._load_bytes = load_bytes
        self._stop_lsn = stop_lsn
        self._cancelled = cancelled
        #: Offsets that need no carrying: their FIRE is in here, or they are in a load already.
        self._done = PendingSet()
        self._moves: list[Due] = []
        #: Where a rescheduled event that is not done has been moved to.
        self._moved: dict[int, int] = {}
        #: CARRY records in here.
        self.carries: list[Spans] = []
        #: Offsets of which the CANCEL is in here.
        self.cancels: list[Int64s] = []

    def loads(self) -> Iterator[Load | None]:
        """What to carry, in records; None: a step in which there was none. To be exhausted once."""
        for record in self._steps():
            if record is None:
                yield None
            else:
                self._survey(record)
        for due in self._moves:
            kept = due.where(_outside(self._done, due.offsets))
            self._moved.update(zip(kept.offsets.tolist(), kept.due_ms.tolist(), strict=True))
        self._moves.clear()
        hold = _Hold(self._load_bytes)
        for record in self._steps():
            if record is None:
                yield None
                continue
            for run in self._kept(record):
                for load in hold.add(run):
                    yield self._rescheduled(load)
        if hold:
            yield self._rescheduled(hold.empty())

    def _survey(self, record: Record) -> None:
        """Note what ends or changes in here."""
        match record.kind:
            case Kind.FIRE:
                self._done.add_many(records.read_due(record).offsets)
            case Kind.CANCEL:
                self.cancels.append(records.read_cancel(record))
            case Kind.MOVE:
                self._moves.append(records.read_due(record))
            case Kind.CARRY:
                self.carries.append(Spans.of(Carry(record)))

    def _steps(self) -> Iterator[Record | None]:
        """The records, and None after each step."""
        nbytes = 0
        for record in self._log.scan(self._log.start_lsn, self._stop_lsn):
            yield record
            nbytes += record.next_lsn - record.lsn
            if nbytes >= STEP_BYTES:
                nbytes = 0
                yield None

    def _kept(self, record: Record) -> Iterator[Run]:
        """The runs of a record's events that must be carried."""
        if record.kind == Kind.PUBLISH:
            batch = records.read_batch(record)
            due_ms = np.frombuffer(batch.due, np.int64)
            runs = [Run(record.offset, record.ts_ms, batch, due_ms, 0, batch.count)]
        elif record.kind == Kind.CARRY:
            runs = Carry(record).runs()
        else:
            return
        for run in runs:
            offsets = np.arange(run.offset, run.offset + run.size)
            wanted = offsets[_outside(self._done, offsets)]
            wanted = wanted[_outside(self._cancelled, wanted)]
            if not len(wanted):
                continue
            # The same event may be published and carried in here.
            self._done.add_many(wanted)
            for part in np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1):
                first = run.first + int(part[0]) - run.offset
                yield run._replace(offset=int(part[0]), first=first, stop=first + len(part))

    def _rescheduled(self, load: Load) -> Load:
        if self._moved:
            due_ms = zip(load.offsets.tolist(), load.due_ms.tolist(), strict=True)
            load.due_ms = np.array([self._moved.get(o, due) for o, due in due_ms], np.int64)
        return load


class _Hold:
    """Runs gathered until they fill a record."""

    def __init__(self, nbytes: int) -> None:
        self._limit = nbytes
        self._runs: list[Run] = []
        self._events = EVENTS_MAX
        self._nbytes = nbytes

    def add(self, run: Run) -> Iterator[Load]:
        """Take in a run; gives every load that is full."""
        while run.size:
            fits = run.fitting(self._events, self._nbytes)
            if not fits and self._runs:
                yield self.empty()
                continue
            # An event that is larger than a record should be has one for itself.
            taken, run = run.split(max(1, fits))
            self._runs.append(taken)
            self._events -= taken.size
            self._nbytes -= taken.nbytes

    def empty(self) -> Load:
        """What is in here, taken out."""
        load = Load(self._runs)
        self._runs, self._events, self._nbytes = [], EVENTS_MAX, self._limit
        return load

    def __bool__(self) -> bool:
        return bool(self._runs)


def _outside(some: PendingSet, offsets: Int64s) -> Bools:
    """Which of `offsets` are not in a set."""
    inside = some.filter(offsets)
    return np.zeros(len(offsets), np.bool_) if inside is None else ~inside


class Gone(NamedTuple):
    """What views need not remember any more when the oldest part of a log is deleted."""

    cancels: Sequence[Int64s]
    carries: Sequence[Spans]


def what_goes(log: Log, stop_lsn: int) -> Gone:
    """Read that part, for a copy whose leader has carried what is alive in it. Blocks."""
    cancels, carries = [], []
    # What is damaged here is no concern of anybody any more: some rows then stay that mean nothing.
    with suppress(DamagedRecord):
        for record in log.scan(log.start_lsn, stop_lsn):
            if record.kind == Kind.CANCEL:
                cancels.append(records.read_cancel(record))
            elif record.kind == Kind.CARRY:
                carries.append(Spans.of(Carry(record)))
    return Gone(cancels, carries)

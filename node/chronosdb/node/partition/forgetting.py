"""Which ids may be forgotten: of events that have left the dedup window and are not pending any more.

Most are forgotten when the window passes their record. An event that is pending then keeps its id, and
is noted here when it ends. Rows go with the next checkpoint, and the log is read for them by the thread
that writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.carried import CarriedIndex
from chronosdb.node.partition.dedup import DedupIndex
from chronosdb.node.partition.due import Int64s
from chronosdb.node.partition.reader import EventReader, RecordCache
from chronosdb.node.partition.records import Kind
from chronosdb.node.partition.timers import Timers
from chronosdb.sched import PendingSet
from chronosdb.wal import Log, OutOfRange, Record

#: Ended events are looked up in the order of the log: few records are needed twice.
_CACHE_BYTES: Final = 1024 * 1024


class Place(NamedTuple):
    """Between two records."""

    lsn: int
    #: Of the next event.
    offset: int


class Forgetting:
    """One partition's."""

    def __init__(
        self, log: Log, log_id: bytes, dedup: DedupIndex, timers: Timers, carried: CarriedIndex
    ) -> None:
        self._log = log
        self._carried = carried
        self._log_id = log_id
        self._dedup = dedup
        self._timers = timers
        self.begin_at(Place(0, 0))

    def begin_at(self, place: Place) -> None:
        """Ids of events before `place` have been forgotten, but for pending ones."""
        #: Invariant: never falls. An event before it has a row only while it is pending, or is noted.
        self.reached = place
        #: Offsets before `reached` that were pending until they ended, since the last checkpoint began.
        self._ended: list[Int64s] = []

    def end(self, offsets: Int64s) -> None:
        """These are about to be pending no more."""
        late = offsets[offsets < self.reached.offset]
        mask = self._timers.pending.filter(late)
        late = late if mask is None else late[mask]
        if len(late):
            self._ended.append(late)

    def begin_checkpoint(self, window: Place) -> Iterator[bytes]:
        """The ids to delete, now that the dedup window begins at `window`. Reads when iterated."""
        ended, self._ended = self._ended, []
        # A window that was made longer begins before what was forgotten already.
        start, self.reached = self.reached, max(self.reached, window)
        kept = self._timers.pending.between(start.offset, self.reached.offset)
        return self._forgotten(start.lsn, self.reached.lsn, kept, ended)

    def _forgotten(
        self, start_lsn: int, stop_lsn: int, kept: PendingSet, ended: list[Int64s]
    ) -> Iterator[bytes]:
        for record in self._log.scan(max(start_lsn, self._log.start_lsn), stop_lsn):
            if record.kind == Kind.PUBLISH:
                yield from self._dedup.obsolete(_rows(record, kept))
        if ended:
            yield from self._dedup.obsolete(self._noted(np.sort(np.concatenate(ended))))

    def _noted(self, offsets: Int64s) -> list[tuple[bytes, int]]:
        """Ids and offsets of ended events."""
        reader = EventReader(self._log, self._log_id, RecordCache(_CACHE_BYTES), self._carried)
        rows = []
        for offset in offsets.tolist():
            # One that was cancelled may be gone with the oldest part of the log. Its row then stays,
            # and means nothing.
            with suppress(OutOfRange):
                stored = reader.stored(offset)
                rows.append((stored.batch.message_id(offset - stored.start), offset))
        return rows


def _rows(record: Record, kept: PendingSet) -> list[tuple[bytes, int]]:
    """Ids and offsets of a record's events, without those in `kept`."""
    rows = list(zip(records.read_batch(record).ids(), range(record.offset, 2**63), strict=False))
    return [row for row in rows if row[1] not in kept] if len(kept) else rows

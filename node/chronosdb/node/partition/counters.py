"""What happened in a partition since it was opened, as plain numbers.

They are added to once per record or frame, never per event, by the tasks that do the work; whoever
wants them reads them (`readings.py`). Nothing here is durable: they begin at zero with the node.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.carry import Carry
from chronosdb.node.partition.due import Int64s
from chronosdb.node.partition.histogram import Histogram
from chronosdb.node.partition.proposals import Placement
from chronosdb.node.partition.records import Kind, SettleReason
from chronosdb.wal import Record
from chronosdb.wire.errors import ChronosError
from chronosdb.wire.messages import Deliver

#: Milliseconds: fine where punctuality is judged, coarse where an outage is.
LATENESS_MS: Final = (
    *(1, 2, 3, 5, 10, 20, 50, 100, 200, 500),
    *(1000, 2000, 5000, 10_000, 30_000, 60_000, 600_000, 3_600_000),
)
#: Seconds: from a fast disk's fsync to a broken one's.
DURATION_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
GROUP_BYTES: Final = tuple(4**n for n in range(4, 13))


@dataclass(slots=True)
class Counters:
    """One partition's numbers, or with `merge` the sum of several. Invariant: none ever falls."""

    #: Events stored.
    published: int = 0
    #: Publishes of single events that were answered with the event that was there already.
    duplicates: int = 0
    #: Batches that were refused, by error code.
    refused: Counter[str] = field(default_factory=Counter)
    fired: int = 0
    cancelled: int = 0
    rescheduled: int = 0
    #: Events sent to members, every attempt.
    delivered: int = 0
    #: Deliveries that failed and are tried again.
    retried: int = 0
    #: Events stored again, so that the oldest part of the log could be deleted.
    carried: int = 0
    #: Of segments that were deleted.
    dropped_bytes: int = 0
    #: Deliveries that are over, by reason.
    settled: Counter[SettleReason] = field(default_factory=Counter)
    #: How long after its due time an event was first sent to a group, in milliseconds.
    lateness_ms: Histogram = field(default_factory=lambda: Histogram(LATENESS_MS))
    #: Size of a write group in the log.
    group_bytes: Histogram = field(default_factory=lambda: Histogram(GROUP_BYTES))
    sync_s: Histogram = field(default_factory=lambda: Histogram(DURATION_S))
    checkpoint_s: Histogram = field(default_factory=lambda: Histogram(DURATION_S))

    def committed(self, record: Record) -> None:
        """A record is in the log."""
        match record.kind:
            case Kind.PUBLISH:
                self.published += record.offsets
            case Kind.FIRE:
                self.fired += record.positions
            case Kind.SETTLE:
                settle = records.read_settle(record)
                runs = np.frombuffer(settle.runs, np.int64)
                self.settled[SettleReason(settle.reason)] += int((runs[1::2] - runs[::2]).sum())
            case Kind.RETRY:
                self.retried += len(records.read_retries(record).positions) // 8
            case Kind.CARRY:
                self.carried += Carry(record).count
            case Kind.CANCEL:
                self.cancelled += len(records.read_cancel(record))
            case Kind.MOVE:
                self.rescheduled += records.read_due(record).size

    def answered(self, outcome: Placement | ChronosError) -> None:
        """A publish was answered."""
        if isinstance(outcome, ChronosError):
            self.refused[outcome.code] += 1
        elif outcome.duplicates is not None:
            self.duplicates += sum(outcome.duplicates)

    def sent(self, frame: Deliver, due_ms: Int64s) -> None:
        """A frame of events that were due at `due_ms` was sent."""
        self.delivered += len(due_ms)
        first = np.frombuffer(frame.attempts, np.uint16) == 1
        self.lateness_ms.add_many(frame.sent_ms - (due_ms if first.all() else due_ms[first]))

    def merge(self, other: Counters) -> None:
        """Add everything that `other` has counted."""
        for name in self.__slots__:
            mine, its = getattr(self, name), getattr(other, name)
            match mine:
                case int():
                    setattr(self, name, mine + its)
                case Histogram():
                    mine.merge(its)
                case _:
                    mine.update(its)

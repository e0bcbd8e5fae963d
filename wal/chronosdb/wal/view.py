"""What a log holds at one moment: the immutable picture that its writer publishes and readers take."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chronosdb.wal.index import SparseIndex
    from chronosdb.wal.record import Point


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as readers know it."""

    start: Point
    index: SparseIndex | None
    """While the segment is the last one. Once it is sealed, its sidecar is read when needed."""


@dataclass(frozen=True, slots=True)
class View:
    """What a log holds, at one moment."""

    # Invariant: not empty; in LSN order; the last one ends at the tail.
    segments: tuple[Segment, ...]
    # Invariant: every record before it is written.
    tail: Point
    cuts: int = 0
    """How often records at the end were taken back: who reads on in an older view may meet others."""

    def at(self, lsn: int) -> int:
        """Number of the segment that holds ``lsn``; -1 if the log begins behind it."""
        return bisect_right(self.segments, lsn, key=lambda segment: segment.start.lsn) - 1

    def end(self, i: int) -> Point:
        """Where segment ``i`` ends."""
        return self.segments[i + 1].start if i + 1 < len(self.segments) else self.tail

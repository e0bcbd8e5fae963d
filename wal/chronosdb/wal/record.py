"""The nouns of a log: a Draft before it is appended, the Record after, the Point between two.

A Point is what a log knows at its end. Each record must begin exactly at the point the one before
it leaves: LSNs, offsets and positions are dense, and time does not run backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Bytes of a record before its body; codec.py, which lays them out, asserts it.
HEADER_BYTES = 64

_U16 = 1 << 16
_U32 = 1 << 32
_I63 = 1 << 63


@dataclass(frozen=True, slots=True)
class Draft:
    """A record to be appended.

    ``body`` is a sequence of buffers (bytes, or memoryviews of bytes) stored back to back.
    ``offsets`` and ``positions`` say how many of each the record adds. The log raises ``ts_ms`` to
    the time of the record before it, if that is later.

    Raises:
        ValueError: a number does not fit its field.
    """

    kind: int
    ts_ms: int
    body: Sequence[bytes | memoryview]
    offsets: int = 0
    positions: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.kind < _U16:
            raise ValueError(f"kind must be 1..65535, not {self.kind}")
        if not -_I63 <= self.ts_ms < _I63:
            raise ValueError(f"ts_ms must fit 64 bits, not {self.ts_ms}")
        if not (0 <= self.offsets < _U32 and 0 <= self.positions < _U32 and 0 <= self.epoch < _U32):
            raise ValueError("offsets, positions and epoch must fit 32 bits and not be negative")

    @property
    def nbytes(self) -> int:
        """What the record takes in the log: header and body."""
        return HEADER_BYTES + sum(map(len, self.body))


@dataclass(frozen=True, slots=True)
class Point:
    """A place between two records: what the next one must carry."""

    lsn: int
    offset: int
    position: int
    ts_ms: int
    """Time of the last record before this point; 0 at the start of a log."""

    def misfit(self, record: Record) -> str | None:
        """Why ``record`` cannot begin here; None if it can."""
        if record.lsn != self.lsn:
            return f"expected the record of lsn {self.lsn}"
        if record.offset != self.offset:
            return f"its offset is {record.offset}, but the record before ends at {self.offset}"
        if record.position != self.position:
            return (
                f"its position is {record.position}, but the record before ends at {self.position}"
            )
        if record.ts_ms < self.ts_ms:
            return f"its time {record.ts_ms} is before {self.ts_ms}, that of the record before"
        return None


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the log.

    ``lsn`` is its place in bytes; ``synced_lsn``, how far the log was durable before the group that
    holds it was written; ``offset`` and ``position``, the first of each that it adds, or would add.
    """

    lsn: int
    synced_lsn: int
    kind: int
    epoch: int
    ts_ms: int
    offset: int
    offsets: int
    position: int
    positions: int
    body: memoryview

    @property
    def nbytes(self) -> int:
        """What the record takes in the log: header and body."""
        return HEADER_BYTES + len(self.body)

    @property
    def next_lsn(self) -> int:
        """Where the next record begins."""
        return self.lsn + HEADER_BYTES + len(self.body)

    @property
    def end(self) -> Point:
        """The point this record leaves."""
        return Point(
            self.next_lsn,
            self.offset + self.offsets,
            self.position + self.positions,
            self.ts_ms,
        )

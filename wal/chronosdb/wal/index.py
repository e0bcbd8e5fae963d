"""The sparse index of a segment: every few KiB, where a record begins and what it begins with.

Four packed arrays, 32 bytes an entry. A sealed segment's index lies beside it as a sidecar, which
is only a shortcut: if it is missing or does not fit, the index is built again from the records.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Literal

from chronosdb.wal.crc import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chronosdb.wal.record import Record

Column = Literal["offset", "position", "ts_ms"]

MAGIC = b"CIDX"
FORMAT_VERSION = 1

# magic, version, base lsn, end lsn, entries; then the crc of these and the columns, the columns.
_FIELDS = struct.Struct("<4sIQQI")
_CRC = struct.Struct("<I")
_COLUMNS_AT = _FIELDS.size + _CRC.size


class SparseIndex:
    """Where to begin a short scan for an offset, a position or a time.

    One thread adds while another looks up: ``_count`` is raised after all four arrays have the new
    entry, and lookups stay below it.
    """

    __slots__ = ("_base_lsn", "_columns", "_count", "_interval", "_lsns", "_next")

    def __init__(self, base_lsn: int, interval_bytes: int) -> None:
        self._base_lsn = base_lsn
        self._interval = interval_bytes
        self._lsns = array("Q")
        self._columns: dict[Column, array[int]] = {
            "offset": array("Q"),
            "position": array("Q"),
            "ts_ms": array("q"),
        }
        # Invariant: entries below _count are complete and each column is in non-decreasing order.
        self._count = 0
        self._next = base_lsn

    def __len__(self) -> int:
        return self._count

    def add(self, record: Record) -> None:
        """Takes note of a record, if it lies far enough from the last one noted."""
        if record.lsn < self._next:
            return
        self._lsns.append(record.lsn)
        self._columns["offset"].append(record.offset)
        self._columns["position"].append(record.position)
        self._columns["ts_ms"].append(record.ts_ms)
        self._count += 1
        self._next = record.lsn + self._interval

    def extend(self, records: Iterable[Record]) -> SparseIndex:
        """Takes note of records in order; returns itself."""
        for record in records:
            self.add(record)
        return self

    def floor(self, column: Column, at_most: int) -> int:
        """LSN of the last noted record whose ``column`` is not above ``at_most``, else the base."""
        i = bisect_right(self._columns[column], at_most, 0, self._count)
        return self._lsns[i - 1] if i else self._base_lsn

    def last_before(self, lsn: int) -> int:
        """LSN of the last noted record that begins below ``lsn``, else the base."""
        i = bisect_left(self._lsns, lsn, 0, self._count)
        return self._lsns[i - 1] if i else self._base_lsn

    def below(self, lsn: int) -> SparseIndex:
        """Another index, of the records that begin below ``lsn``."""
        index = SparseIndex(self._base_lsn, self._interval)
        n = bisect_left(self._lsns, lsn, 0, self._count)
        index._lsns = self._lsns[:n]
        index._columns = {column: values[:n] for column, values in self._columns.items()}
        index._finish(n)
        return index

    def encode(self, end_lsn: int) -> bytes:
        """The sidecar of a segment that is durable up to ``end_lsn``."""
        n = self._count
        fields = _FIELDS.pack(MAGIC, FORMAT_VERSION, self._base_lsn, end_lsn, n)
        columns = b"".join(
            struct.pack(f"<{n}{values.typecode}", *values[:n])
            for values in (self._lsns, *self._columns.values())
        )
        return fields + _CRC.pack(crc32c(columns, crc32c(fields))) + columns

    @classmethod
    def decode(cls, data: bytes, base_lsn: int, interval_bytes: int) -> tuple[SparseIndex, int]:
        """The index in a sidecar, and the LSN up to which its segment was durable.

        Raises:
            ValueError: it is damaged, or it is not of the segment at ``base_lsn``.
        """
        if len(data) < _COLUMNS_AT:
            raise ValueError("the sidecar is too short")
        fields, columns = data[: _FIELDS.size], data[_COLUMNS_AT:]
        magic, version, base, end_lsn, n = _FIELDS.unpack(fields)
        if (magic, version, base) != (MAGIC, FORMAT_VERSION, base_lsn) or len(columns) != 32 * n:
            raise ValueError("the sidecar is not of this segment and format")
        if _CRC.unpack_from(data, _FIELDS.size)[0] != crc32c(columns, crc32c(fields)):
            raise ValueError("the checksum of the sidecar does not match")
        index = cls(base_lsn, interval_bytes)
        index._load(columns, n)
        return index, end_lsn

    def _load(self, columns: bytes, n: int) -> None:
        at = 0
        for values in (self._lsns, *self._columns.values()):
            values.extend(struct.unpack_from(f"<{n}{values.typecode}", columns, at))
            at += 8 * n
        self._finish(n)

    def _finish(self, n: int) -> None:
        self._count = n
        self._next = self._lsns[-1] + self._interval if n else self._base_lsn

"""Reading one segment's records: checked, buffered, and, after damage, found again.

Every record knows its own LSN, so a valid one can be found anywhere by looking for an LSN field
that names its own place. That is how recovery looks behind a bad record, and verify goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chronosdb.wal.codec import body_bytes, decode
from chronosdb.wal.errors import DamagedRecord, UnreadableRecord
from chronosdb.wal.record import HEADER_BYTES, Record
from chronosdb.wal.segment import file_position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    # (how many bytes, file position) -> bytes, fewer only at the end of the file
    Pread = Callable[[int, int], bytes]

# Where a record's header keeps its LSN; the upper six bytes of it are equal in a 64 KiB stretch.
_LSN_AT = 8
_STRETCH = 1 << 16
_UPPER_BYTES = 6
# What fits into the eight bytes of a record's LSN.
_LSN_MAX = (1 << 64) - 1
_SPACE = bytes(8)
_WRITTEN = re.compile(rb"[^\0]")


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch without valid records, from ``lsn`` up to ``next_lsn``."""

    lsn: int
    next_lsn: int
    why: str


class _Window:
    """A buffer over the part of a segment below ``stop``."""

    __slots__ = ("_base", "_chunk", "_data", "_origin", "_pread", "_stop")

    def __init__(self, pread: Pread, base: int, stop: int, chunk: int) -> None:
        assert chunk >= HEADER_BYTES
        self._pread = pread
        self._base = base
        self._stop = stop
        self._chunk = chunk
        self._origin = base
        self._data = b""

    def take(self, lsn: int, n: int) -> bytes:
        """``n`` bytes at ``lsn``; fewer only where the file or the window ends."""
        at = lsn - self._origin
        if at >= 0 and at + n <= len(self._data):
            return self._data[at : at + n]
        if n >= self._chunk:
            # A large body gets bytes of its own: the checksum then needs no copy.
            return self._pread(n, file_position(self._base, lsn))
        room = min(self._chunk, self._stop - lsn)
        try:
            self._data = self._pread(room, file_position(self._base, lsn))
        except UnreadableRecord:
            # The place that cannot be read may lie behind what was asked for.
            return self._pread(n, file_position(self._base, lsn))
        self._origin = lsn
        return self._data[:n]


class SegmentReader:
    """Reads the segment that begins at ``base_lsn`` through ``pread``. Holds no state."""

    __slots__ = ("_base", "_pread")

    def __init__(self, pread: Pread, base_lsn: int) -> None:
        self._pread = pread
        self._base = base_lsn

    def read(self, lsn: int, stop: int, chunk: int) -> Record:
        """The record at ``lsn``, which ends at ``stop`` or before.

        Raises:
            DamagedRecord: there is none.
        """
        return _record_at(_Window(self._pread, self._base, stop, chunk), lsn, stop)

    def scan(self, lsn: int, stop: int, chunk: int) -> Iterator[Record]:
        """All records from ``lsn`` to ``stop``, reading ``chunk`` bytes at a time.

        Raises:
            DamagedRecord: the first that is not valid ends the scan.
        """
        window = _Window(self._pread, self._base, stop, chunk)
        while lsn < stop:
            record = _record_at(window, lsn, stop)
            yield record
            lsn = record.next_lsn

    def walk(self, lsn: int, stop: int, chunk: int) -> Iterator[Record | Gap]:
        """All valid records from ``lsn`` to ``stop``, and the gaps between them."""
        while lsn < stop:
            try:
                for record in self.scan(lsn, stop, chunk):
                    yield record
                    lsn = record.next_lsn
            except DamagedRecord as damage:
                found = self.find(lsn + 1, stop)
                gap = Gap(lsn, found.lsn if found else stop, damage.why)
                yield gap
                lsn = gap.next_lsn

    def find(self, lsn: int, stop: int) -> Record | None:
        """The first valid record that begins at ``lsn`` or later and ends by ``stop``."""
        while lsn + HEADER_BYTES <= stop:
            next_stretch = (lsn // _STRETCH + 1) * _STRETCH
            end = min(next_stretch, stop)
            data = self._pread(end - lsn + 8, file_position(self._base, lsn) + _LSN_AT)
            if not data:
                return None  # the file ends before its segment is said to
            for candidate in candidates(data, lsn, end):
                try:
                    return self.read(candidate, stop, HEADER_BYTES)
                except DamagedRecord:
                    continue
            lsn = next_stretch
        return None

    def written_end(self, lsn: int, stop: int, chunk: int) -> int:
        """The LSN after the last byte from ``lsn`` to ``stop`` that is not zero; ``lsn`` if none is."""
        while lsn < stop:
            start = max(lsn, stop - chunk)
            data = self._pread(stop - start, file_position(self._base, start))
            # Mostly it is all space, which is compared much faster than it is stripped.
            if data != bytes(len(data)):
                return start + len(data.rstrip(b"\0"))
            stop = start
        return lsn


def _record_at(window: _Window, lsn: int, stop: int) -> Record:
    try:
        header = window.take(lsn, HEADER_BYTES)
        body = window.take(lsn + HEADER_BYTES, body_bytes(header, lsn, stop - lsn))
    except UnreadableRecord as error:
        raise UnreadableRecord(lsn, error.why) from error.__cause__
    return decode(header, body, lsn)


def candidates(data: bytes, lsn: int, end: int) -> Iterator[int]:
    """Where in one stretch, ``data``, a header would find its own LSN; that of ``lsn`` comes first."""
    end = min(end, _LSN_MAX)
    if lsn >= end:  # a file may be named after any number of 20 digits
        return
    lower_bytes = 8 - _UPPER_BYTES
    upper = lsn.to_bytes(8, "little")[lower_bytes:]
    at = data.find(upper, lower_bytes)
    while at >= 0:
        start = at - lower_bytes
        candidate = lsn + start
        if candidate < end and data[start : start + 8] == candidate.to_bytes(8, "little"):
            yield candidate
        following = at + 1
        if data.startswith(_SPACE, start):
            # An LSN of this stretch is not zero in its lower bytes: it begins where space ends.
            written = _WRITTEN.search(data, start + len(_SPACE))
            if written is None:
                return
            following = written.start() + 1
        at = data.find(upper, following)

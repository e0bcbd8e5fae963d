"""Reading a log: by LSN, in order, and by offset, position or time.

Any thread reads while one writes. The writer publishes by single assignments, which the interpreter
makes atomic, in an order that keeps every reader right: a new segment is appended to ``_segments``
before any record in it is inside ``tail``; ``tail`` is an immutable Point that is replaced whole. A
reader takes ``tail`` first and then looks for segments, so it never sees a record whose segment it
does not know. What readers share among themselves are two caches with atomic operations; a file that
falls out of its cache closes itself when the last read of it is done.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from chronosdb.wal import layout
from chronosdb.wal.errors import DamagedRecord, LogClosed, OutOfRange
from chronosdb.wal.index import Column, SparseIndex
from chronosdb.wal.segment_reader import SegmentReader
from chronosdb.wal.sidecar import read_sidecar, write_sidecar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chronosdb.wal.disk import Disk, File
    from chronosdb.wal.options import LogOptions
    from chronosdb.wal.record import Point, Record

# One read of this size holds most single events whole; a larger record costs a second read.
_READ_BYTES = 4096


@dataclass(slots=True)
class Segment:
    """A segment as readers know it."""

    start: Point
    index: SparseIndex | None
    """While the segment is the last one. Once it is sealed, its sidecar is read when needed."""


class LogReader:
    """All reading of one log."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        segments: list[Segment],
        tail: Point,
        options: LogOptions,
        *,
        writable: bool,
    ) -> None:
        assert segments
        self._disk = disk
        self._directory = directory
        self._options = options
        self._writable = writable
        self._closed = False
        self._file = lru_cache(options.open_files_max)(self._open_file)
        self._sealed_index = lru_cache(options.open_files_max)(self._load_index)
        # Invariant: in LSN order, only ever appended to; the last one ends at the tail.
        self._segments = segments
        # Invariant: replaced whole, by the writer, and only after the records before it are written.
        self.tail = tail

    @property
    def start(self) -> Point:
        """Where the oldest record begins."""
        return self._segments[0].start

    def add_segment(self, segment: Segment) -> None:
        """Goes on in a new segment; the sidecar of the one before it must be on disk."""
        assert segment.start.lsn == self.tail.lsn
        sealed = self._segments[-1]
        self._segments.append(segment)
        sealed.index = None

    def read(self, lsn: int) -> Record:
        """The record at ``lsn``.

        Raises:
            OutOfRange: the log does not reach there.
            DamagedRecord: it is damaged, or no record begins there.
        """
        tail_lsn = self.tail.lsn
        if not self.start.lsn <= lsn < tail_lsn:
            raise OutOfRange(f"lsn {lsn} is outside the log, {self.start.lsn} to {tail_lsn}")
        i = self._segment_at(lsn)
        return self._segment_reader(self._segments[i]).read(
            lsn, self._end(i, tail_lsn), _READ_BYTES
        )

    def scan(self, start_lsn: int | None, stop_lsn: int | None) -> Iterator[Record]:
        """The records of a range, in order. The range is fixed when scan is called.

        Raises:
            OutOfRange: the log does not hold the whole range.
            DamagedRecord: while iterating, at the first damaged record.
        """
        tail_lsn = self.tail.lsn
        start = self.start.lsn if start_lsn is None else start_lsn
        stop = tail_lsn if stop_lsn is None else stop_lsn
        if not self.start.lsn <= start <= stop <= tail_lsn:
            raise OutOfRange(
                f"lsn {start} to {stop} is outside the log, {self.start.lsn} to {tail_lsn}"
            )
        return self._scan(start, stop, self._options.scan_bytes)

    def at_offset(self, offset: int) -> Record:
        """The record that adds this offset. Raises OutOfRange if none does."""
        tail = self.tail
        if not self.start.offset <= offset < tail.offset:
            raise OutOfRange(
                f"offset {offset} is outside the log, {self.start.offset} to {tail.offset}"
            )
        return self._find(
            tail.lsn, "offset", offset, lambda record: record.offset + record.offsets > offset
        )

    def at_position(self, position: int) -> Record:
        """The record that adds this position. Raises OutOfRange if none does."""
        tail = self.tail
        if not self.start.position <= position < tail.position:
            raise OutOfRange(
                f"position {position} is outside the log, {self.start.position} to {tail.position}"
            )
        return self._find(
            tail.lsn,
            "position",
            position,
            lambda record: record.position + record.positions > position,
        )

    def at_time(self, ts_ms: int) -> Record:
        """The first record not before ``ts_ms``. Raises OutOfRange if all are before."""
        tail = self.tail
        if ts_ms > tail.ts_ms or tail.lsn == self.start.lsn:
            raise OutOfRange(f"the log has no record at or after {ts_ms} ms")
        return self._find(tail.lsn, "ts_ms", ts_ms - 1, lambda record: record.ts_ms >= ts_ms)

    def close(self) -> None:
        """Closes all files; reading is over."""
        self._closed = True
        self._file.cache_clear()

    def _find(
        self, tail_lsn: int, column: Column, at_most: int, hit: Callable[[Record], bool]
    ) -> Record:
        """Scans for a hit from the last indexed record whose ``column`` is not above ``at_most``.

        Columns never decrease along the log, so a record that is a hit does not lie before that.
        The scan checks every record it passes: a damaged one cannot hide the right answer.
        """
        i = bisect_right(self._segments, at_most, key=lambda s: int(getattr(s.start, column))) - 1
        index = self._index(max(i, 0))
        lsn = index.floor(column, at_most)
        for record in self._scan(lsn, tail_lsn, _READ_BYTES):
            if hit(record):
                return record
        raise DamagedRecord(lsn, f"the records from here on do not lead to {column} {at_most}")

    def _scan(self, lsn: int, stop: int, chunk: int) -> Iterator[Record]:
        point: Point | None = None
        while lsn < stop:
            i = self._segment_at(lsn)
            start = self._segments[i].start
            if lsn == start.lsn:
                if point is not None and point != start:
                    raise DamagedRecord(lsn, "this segment does not continue the one before it")
                point = start
            for record in self._segment_reader(self._segments[i]).scan(
                lsn, min(self._end(i, stop), stop), chunk
            ):
                why = point.misfit(record) if point else None
                if why:
                    raise DamagedRecord(record.lsn, why)
                yield record
                point = record.end
                lsn = record.next_lsn

    def _segment_at(self, lsn: int) -> int:
        return bisect_right(self._segments, lsn, key=lambda segment: segment.start.lsn) - 1

    def _end(self, i: int, tail_lsn: int) -> int:
        """Where segment ``i`` ends, or the tail, if it is the last one that the tail knows of."""
        following = self._segments[i + 1 : i + 2]
        return following[0].start.lsn if following else tail_lsn

    def _segment_reader(self, segment: Segment) -> SegmentReader:
        base_lsn = segment.start.lsn
        return SegmentReader(partial(self._pread, base_lsn), base_lsn)

    def _pread(self, base_lsn: int, n: int, pos: int) -> bytes:
        # Asks the cache each time: a slow scan must not keep files open that nobody reads.
        if self._closed:
            raise LogClosed(f"{self._directory} is closed")
        return self._file(base_lsn).pread(n, pos)

    def _open_file(self, base_lsn: int) -> File:
        path = layout.segment_path(self._directory, base_lsn)
        return self._disk.open(path, create=False, writable=False)

    def _index(self, i: int) -> SparseIndex:
        index = self._segments[i].index
        return self._sealed_index(i) if index is None else index

    def _load_index(self, i: int) -> SparseIndex:
        """The index of sealed segment ``i``: its sidecar, or built again from the records."""
        base, end = self._segments[i].start.lsn, self._segments[i + 1].start.lsn
        interval = self._options.index_interval_bytes
        found = read_sidecar(self._disk, self._directory, base, interval)
        if found and found[1] == end:
            return found[0]
        index = SparseIndex(base, interval).extend(self._scan(base, end, self._options.scan_bytes))
        if self._writable:
            # Only to save the next process the scan: a full disk or an error here harms nothing.
            with suppress(OSError):
                write_sidecar(self._disk, self._directory, base, index, end)
        return index

"""Reading a log: by LSN, in order, and by offset, position or time.

Any thread reads while one writes. The writer publishes a ``View``, which is immutable, by a single
assignment, which the interpreter makes atomic; a reader takes one and stays with it. Only the files of
segments that are dropped meanwhile may be gone: that is OutOfRange. What readers share among themselves
are two caches with atomic operations; a file that falls out of its cache closes itself when the last
read of it is done.
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

    def at(self, lsn: int) -> int:
        """Number of the segment that holds ``lsn``; -1 if the log begins behind it."""
        return bisect_right(self.segments, lsn, key=lambda segment: segment.start.lsn) - 1

    def end(self, i: int) -> Point:
        """Where segment ``i`` ends."""
        return self.segments[i + 1].start if i + 1 < len(self.segments) else self.tail


class LogReader:
    """All reading of one log."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        view: View,
        options: LogOptions,
        *,
        writable: bool,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._options = options
        self._writable = writable
        self._closed = False
        self._file = lru_cache(options.open_files_max)(self._open_file)
        self._sealed_index = lru_cache(options.open_files_max)(self._load_index)
        # Invariant: replaced whole, and only by the writer.
        self.view = view

    @property
    def start(self) -> Point:
        """Where the oldest record begins."""
        return self.view.segments[0].start

    @property
    def tail(self) -> Point:
        """Where the newest record ends."""
        return self.view.tail

    def advance(self, tail: Point) -> None:
        """Lets readers see the records up to ``tail``; the last segment's index must know them."""
        self.view = View(self.view.segments, tail)

    def add_segment(self, segment: Segment) -> None:
        """Goes on in a new segment; the sidecar of the one before it must be on disk."""
        *older, sealed = self.view.segments
        assert segment.start == self.tail
        self.view = View((*older, Segment(sealed.start, None), segment), self.tail)

    def begin_at(self, i: int) -> None:
        """Forgets the segments before number ``i``; afterwards their files may be removed."""
        self.view = View(self.view.segments[i:], self.tail)

    def close_files(self) -> None:
        """Closes every file when the last read of it is done; whoever reads on opens it again."""
        self._file.cache_clear()

    def read(self, lsn: int) -> Record:
        """The record at ``lsn``.

        Raises:
            OutOfRange: the log does not reach there.
            DamagedRecord: it is damaged, or no record begins there.
        """
        view = self.view
        if not self.start.lsn <= lsn < view.tail.lsn:
            raise OutOfRange(f"lsn {lsn} is outside the log, {self.start.lsn} to {view.tail.lsn}")
        i = view.at(lsn)
        return self._segment_reader(view.segments[i]).read(lsn, view.end(i).lsn, _READ_BYTES)

    def scan(self, start_lsn: int | None, stop_lsn: int | None) -> Iterator[Record]:
        """The records of a range, in order. The range is fixed when scan is called.

        Raises:
            OutOfRange: the log does not hold the whole range.
            DamagedRecord: while iterating, at the first damaged record.
        """
        view = self.view
        start = self.start.lsn if start_lsn is None else start_lsn
        stop = view.tail.lsn if stop_lsn is None else stop_lsn
        if not self.start.lsn <= start <= stop <= view.tail.lsn:
            raise OutOfRange(
                f"lsn {start} to {stop} is outside the log, {self.start.lsn} to {view.tail.lsn}"
            )
        return self._scan(view, start, stop, self._options.scan_bytes)

    def at_offset(self, offset: int) -> Record:
        """The record that adds this offset. Raises OutOfRange if none does."""
        view = self.view
        tail = view.tail
        if not self.start.offset <= offset < tail.offset:
            raise OutOfRange(
                f"offset {offset} is outside the log, {self.start.offset} to {tail.offset}"
            )
        return self._find(
            view, "offset", offset, lambda record: record.offset + record.offsets > offset
        )

    def at_position(self, position: int) -> Record:
        """The record that adds this position. Raises OutOfRange if none does."""
        view = self.view
        tail = view.tail
        if not self.start.position <= position < tail.position:
            raise OutOfRange(
                f"position {position} is outside the log, {self.start.position} to {tail.position}"
            )
        return self._find(
            view,
            "position",
            position,
            lambda record: record.position + record.positions > position,
        )

    def at_time(self, ts_ms: int) -> Record:
        """The first record not before ``ts_ms``. Raises OutOfRange if all are before."""
        view = self.view
        tail = view.tail
        if ts_ms > tail.ts_ms or tail.lsn == self.start.lsn:
            raise OutOfRange(f"the log has no record at or after {ts_ms} ms")
        return self._find(view, "ts_ms", ts_ms - 1, lambda record: record.ts_ms >= ts_ms)

    def close(self) -> None:
        """Closes all files; reading is over."""
        self._closed = True
        self.close_files()

    def _find(
        self, view: View, column: Column, at_most: int, hit: Callable[[Record], bool]
    ) -> Record:
        """Scans for a hit from the last indexed record whose ``column`` is not above ``at_most``.

        Columns never decrease along the log, so a record that is a hit does not lie before that.
        The scan checks every record it passes: a damaged one cannot hide the right answer.
        """
        i = bisect_right(view.segments, at_most, key=lambda s: int(getattr(s.start, column))) - 1
        index = self._index(view, max(i, 0))
        lsn = index.floor(column, at_most)
        for record in self._scan(view, lsn, view.tail.lsn, _READ_BYTES):
            if hit(record):
                return record
        raise DamagedRecord(lsn, f"the records from here on do not lead to {column} {at_most}")

    def _scan(self, view: View, lsn: int, stop: int, chunk: int) -> Iterator[Record]:
        point: Point | None = None
        while lsn < stop:
            i = view.at(lsn)
            segment = view.segments[i]
            if lsn == segment.start.lsn:
                if point is not None and point != segment.start:
                    raise DamagedRecord(lsn, "this segment does not continue the one before it")
                point = segment.start
            for record in self._segment_reader(segment).scan(
                lsn, min(view.end(i).lsn, stop), chunk
            ):
                why = point.misfit(record) if point else None
                if why:
                    raise DamagedRecord(record.lsn, why)
                yield record
                point = record.end
                lsn = record.next_lsn

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
        try:
            return self._disk.open(path, create=False, writable=False)
        except FileNotFoundError:
            # The writer forgets a segment before it removes the file.
            if base_lsn < self.start.lsn:
                raise OutOfRange(f"the segment at lsn {base_lsn} has just been dropped") from None
            raise

    def _index(self, view: View, i: int) -> SparseIndex:
        index = view.segments[i].index
        if index is None:
            return self._sealed_index(view.segments[i].start, view.end(i))
        return index

    def _load_index(self, start: Point, end: Point) -> SparseIndex:
        """The index of the sealed segment between two points: its sidecar, or built again."""
        interval, chunk = self._options.index_interval_bytes, self._options.scan_bytes
        found = read_sidecar(self._disk, self._directory, start.lsn, interval)
        if found and found[1] == end.lsn:
            return found[0]
        # Not the view of now: it may have dropped the segment.
        view = View((Segment(start, None),), end)
        index = SparseIndex(start.lsn, interval)
        index.extend(self._scan(view, start.lsn, end.lsn, chunk))
        if self._writable:
            # Only to save the next process the scan: a full disk or an error here harms nothing.
            # Nor does it if the segment was dropped meanwhile: the next open removes what lies below.
            with suppress(OSError):
                write_sidecar(self._disk, self._directory, start.lsn, index, end.lsn)
        return index

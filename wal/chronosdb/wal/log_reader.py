"""Reading a log: by LSN, in order, and by offset, position or time.

Any thread reads while one writes. The writer publishes a ``View``, which is immutable, by a single
assignment, which the interpreter makes atomic; a reader takes one and stays with it. Only the files of
segments that are dropped meanwhile may be gone: that is OutOfRange. So is what was cut off at the end;
who looks for something below the cut, but met it, looks again. What readers share among themselves
are two caches with atomic operations; a file that falls out of its cache closes itself when the last
read of it is done. Readers write nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeVar

from chronosdb.wal import layout
from chronosdb.wal.copying import cut_out
from chronosdb.wal.errors import DamagedRecord, LogClosed, OutOfRange, UnreadableRecord
from chronosdb.wal.index import Column, SparseIndex
from chronosdb.wal.repairing import Surroundings, around_bad_sectors
from chronosdb.wal.segment import SEGMENT_HEADER_BYTES, file_position
from chronosdb.wal.segment_reader import Gap, SegmentReader
from chronosdb.wal.sidecar import read_sidecar
from chronosdb.wal.view import Segment, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chronosdb.wal.disk import Disk, File
    from chronosdb.wal.options import LogOptions
    from chronosdb.wal.record import Point, Record

# One read of this size holds most single events whole; a larger record costs a second read.
_READ_BYTES = 4096
# Indexes that wait for the writer to store them; one of 512 MB takes 4 MB.
_REBUILT_MAX = 16

Found = TypeVar("Found")


class LogReader:
    """All reading of one log."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        view: View,
        options: LogOptions,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._options = options
        self._closed = False
        self._file = lru_cache(options.open_files_max)(self._open_file)
        self._sealed_index = lru_cache(options.open_files_max)(self._load_index)
        # Invariant: replaced whole, and only by the writer.
        self.view = view
        # What some read failed of last. Set by any thread, forgotten by whoever mends it.
        self.damage: DamagedRecord | None = None
        # Sidecars that were missing, of segments in the view of that number, from start to end.
        self._rebuilt: dict[tuple[int, Point, Point], SparseIndex] = {}

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
        self.view = View(self.view.segments, tail, self.view.cuts)

    def add_segment(self, segment: Segment) -> None:
        """Goes on in a new segment; the sidecar of the one before it must be on disk."""
        *older, sealed = self.view.segments
        assert segment.start == self.tail
        self.view = View((*older, Segment(sealed.start, None), segment), self.tail, self.view.cuts)

    def begin_at(self, i: int) -> None:
        """Forgets the segments before number ``i``; afterwards their files may be removed."""
        self.view = View(self.view.segments[i:], self.tail, self.view.cuts)

    def show(self, view: View) -> None:
        """Shows another log from now on; afterwards the files that are not in it may go."""
        self.view = view

    def view_up_to(self, lsn: int) -> View:
        """What is left if the records from ``lsn`` on are cut off.

        Raises:
            OutOfRange: the log does not reach there.
            DamagedRecord: no record begins there, or those before it are damaged.
        """
        view = self.view
        tail = self._find_in_view(lambda view: self._point(view, lsn))
        i = view.at(lsn)
        last = Segment(view.segments[i].start, self._index(view, i).below(lsn))
        return View((*view.segments[:i], last), tail, view.cuts + 1)

    def close_files(self) -> None:
        """Closes every file when the last read of it is done; whoever reads on opens it again.

        Nothing that a read has begun to load is kept either: a new file may have an old name.
        """
        self._file = lru_cache(self._options.open_files_max)(self._open_file)
        self._sealed_index = lru_cache(self._options.open_files_max)(self._load_index)

    def rest(self) -> None:
        """Closes every file when the last read of it is done; indexes of sealed segments are kept."""
        self._file.cache_clear()

    def read(self, lsn: int) -> Record:
        """The record at ``lsn``.

        Raises:
            OutOfRange: the log does not reach there.
            DamagedRecord: it is damaged, or no record begins there.
        """
        return self._find_in_view(lambda view: self._read(view, lsn))

    def point(self, lsn: int) -> Point:
        """The point before the record at ``lsn``, or the end.

        Raises:
            OutOfRange: the log does not reach there.
            DamagedRecord: no record begins there, or one that leads to it is damaged.
        """
        return self._find_in_view(lambda view: self._point(view, lsn))

    def epoch_before(self, lsn: int) -> int:
        """Epoch of the record that ends at ``lsn``; 0 if none does. Raises OutOfRange, DamagedRecord."""
        view = self.view
        self._checked_stop(view, lsn, None)
        before = self._before(view, lsn)
        return 0 if before is None else before.epoch

    def last(self) -> Record | None:
        """The newest record; None if there is none. Raises DamagedRecord if it is damaged."""
        return self._find_in_view(lambda view: self._before(view, view.tail.lsn))

    def raw(self, lsn: int, max_bytes: int, stop_lsn: int | None) -> bytes:
        """The bytes of whole records, all of one segment.

        Raises:
            OutOfRange: the log does not hold the whole range.
            DamagedRecord: the first of them is damaged.
        """
        return self._find_in_view(lambda view: self._raw(view, lsn, max_bytes, stop_lsn))

    def scan(self, start_lsn: int | None, stop_lsn: int | None) -> Iterator[Record]:
        """The records of a range, in order. The range is fixed when scan is called.

        Raises:
            OutOfRange: the log does not hold the whole range.
            DamagedRecord: while iterating, at the first damaged record.
        """
        view = self.view
        start = self.start.lsn if start_lsn is None else start_lsn
        stop = self._checked_stop(view, start, stop_lsn)
        return self._scan_unless_cut(view, start, stop)

    def at_offset(self, offset: int) -> Record:
        """The record that adds this offset. Raises OutOfRange if none does."""
        return self._find_in_view(lambda view: self._at_offset(view, offset))

    def at_position(self, position: int) -> Record:
        """The record that adds this position. Raises OutOfRange if none does."""
        return self._find_in_view(lambda view: self._at_position(view, position))

    def at_time(self, ts_ms: int) -> Record:
        """The first record not before ``ts_ms``. Raises OutOfRange if all are before."""
        return self._find_in_view(lambda view: self._at_time(view, ts_ms))

    def surroundings(self, lsn: int, *, end_is_lost: bool) -> Surroundings:
        """What lies around ``lsn``, damaged or not. If the end is lost, the log may go on behind it.

        Raises:
            OutOfRange: the log does not reach there.
        """
        view = self.view
        i = view.at(lsn)
        start, end = view.segments[i].start, view.end(i)
        stop = end.lsn
        if end_is_lost and i == len(view.segments) - 1:
            nbytes = self._ask(start.lsn, start.lsn, lambda file: file.size())
            stop = start.lsn + nbytes - SEGMENT_HEADER_BYTES
        if not start.lsn <= lsn < stop:
            raise OutOfRange(f"lsn {lsn} is outside the log, {self.start.lsn} to {stop}")
        floor = start.lsn
        # A lost sidecar cannot be built again from damaged records.
        with suppress(DamagedRecord):
            floor = self._index(view, i).last_before(lsn)
        pread = around_bad_sectors(partial(self._pread, start.lsn))
        items = SegmentReader(pread, start.lsn).walk(floor, stop, self._options.scan_bytes)
        return Surroundings(
            start.lsn,
            start if floor == start.lsn else None,
            items,
            end if stop == end.lsn else None,
        )

    def sound_behind(self, lsn: int) -> Iterator[Record]:
        """The valid records behind damage at ``lsn``, up to the end of its segment. Raises OutOfRange."""
        items = self.surroundings(lsn, end_is_lost=True).items
        return (item for item in items if item.lsn > lsn and not isinstance(item, Gap))

    def rebuilt_sidecars(self) -> Iterator[tuple[Point, Point, SparseIndex]]:
        """Indexes of sealed segments that readers had to build: from where to where, each once."""
        view = self.view
        while self._rebuilt:
            (cuts, start, end), index = self._rebuilt.popitem()
            i = view.at(start.lsn)
            if (cuts, start, end) == (view.cuts, view.segments[i].start, view.end(i)):
                yield start, end, index

    def close(self) -> None:
        """Closes all files; reading is over."""
        self._closed = True
        self.close_files()

    def _find_in_view(self, find: Callable[[View], Found]) -> Found:
        """What is found in the log of now; if it was cut meanwhile, in what is left of it."""
        while True:
            view = self.view
            try:
                return find(view)
            except DamagedRecord as damage:
                if self.view.cuts == view.cuts:
                    self.damage = damage
                    raise

    def _scan_unless_cut(self, view: View, start: int, stop: int) -> Iterator[Record]:
        try:
            yield from self._scan(view, start, stop, self._options.scan_bytes)
        except DamagedRecord as damage:
            if self.view.cuts == view.cuts:
                self.damage = damage
                raise
            raise OutOfRange(f"lsn {damage.lsn} has just been cut off the log") from None

    def _checked_stop(self, view: View, start: int, stop_lsn: int | None) -> int:
        stop = view.tail.lsn if stop_lsn is None else stop_lsn
        if not self.start.lsn <= start <= stop <= view.tail.lsn:
            raise OutOfRange(
                f"lsn {start} to {stop} is outside the log, {self.start.lsn} to {view.tail.lsn}"
            )
        return stop

    def _read(self, view: View, lsn: int) -> Record:
        if not self.start.lsn <= lsn < view.tail.lsn:
            raise OutOfRange(f"lsn {lsn} is outside the log, {self.start.lsn} to {view.tail.lsn}")
        i = view.at(lsn)
        return self._segment_reader(view.segments[i]).read(lsn, view.end(i).lsn, _READ_BYTES)

    def _point(self, view: View, lsn: int) -> Point:
        if lsn == view.tail.lsn:
            return view.tail
        self._checked_stop(view, lsn, None)
        segment = view.segments[view.at(lsn)]
        if lsn == segment.start.lsn:
            return segment.start
        record = self._before(view, lsn)
        assert record is not None
        return record.end

    def _before(self, view: View, lsn: int) -> Record | None:
        """The record that ends at ``lsn``; None where the log begins."""
        found = None
        i = view.at(lsn - 1)
        if i >= 0:
            start = self._index(view, i).last_before(lsn)
            for found in self._scan(view, start, lsn, _READ_BYTES):  # noqa: B007 - the last one
                pass
        return found

    def _raw(self, view: View, lsn: int, max_bytes: int, stop_lsn: int | None) -> bytes:
        stop = self._checked_stop(view, lsn, stop_lsn)
        if lsn == stop:
            return b""
        i = view.at(lsn)
        base_lsn = view.segments[i].start.lsn
        pos = file_position(base_lsn, lsn)
        stop = min(stop, view.end(i).lsn)
        return cut_out(lambda n: self._pread(base_lsn, n, pos), lsn, stop, max_bytes)

    def _at_offset(self, view: View, offset: int) -> Record:
        tail = view.tail
        if not self.start.offset <= offset < tail.offset:
            raise OutOfRange(
                f"offset {offset} is outside the log, {self.start.offset} to {tail.offset}"
            )
        return self._find(
            view, "offset", offset, lambda record: record.offset + record.offsets > offset
        )

    def _at_position(self, view: View, position: int) -> Record:
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

    def _at_time(self, view: View, ts_ms: int) -> Record:
        tail = view.tail
        if ts_ms > tail.ts_ms or tail.lsn == self.start.lsn:
            raise OutOfRange(f"the log has no record at or after {ts_ms} ms")
        return self._find(view, "ts_ms", ts_ms - 1, lambda record: record.ts_ms >= ts_ms)

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
                point = _continued(point, segment)
            for record in self._segment_reader(segment).scan(
                lsn, min(view.end(i).lsn, stop), chunk
            ):
                why = point.misfit(record) if point else None
                if why:
                    raise DamagedRecord(record.lsn, why)
                yield record
                point = record.end
                lsn = record.next_lsn
        if (
            lsn == view.segments[-1].start.lsn
        ):  # nothing is in it yet, but what comes will follow it
            _continued(point, view.segments[-1])

    def _segment_reader(self, segment: Segment) -> SegmentReader:
        base_lsn = segment.start.lsn
        return SegmentReader(partial(self._pread, base_lsn), base_lsn)

    def _pread(self, base_lsn: int, n: int, pos: int) -> bytes:
        lsn = base_lsn + pos - SEGMENT_HEADER_BYTES
        return self._ask(base_lsn, lsn, lambda file: file.pread(n, pos))

    def _ask(self, base_lsn: int, lsn: int, ask: Callable[[File], Found]) -> Found:
        # Asks the cache each time: a slow scan must not keep files open that nobody reads.
        if self._closed:
            raise LogClosed(f"{self._directory} is closed")
        try:
            return ask(self._file(base_lsn))
        except OSError as error:
            raise UnreadableRecord(lsn, f"the disk cannot be read: {error}") from error

    def _open_file(self, base_lsn: int) -> File:
        path = layout.segment_path(self._directory, base_lsn)
        try:
            return self._disk.open(path, create=False, writable=False)
        except FileNotFoundError:
            # The writer forgets a segment before it removes the file.
            if all(base_lsn != segment.start.lsn for segment in self.view.segments):
                raise OutOfRange(f"the segment at lsn {base_lsn} has just been dropped") from None
            raise

    def _index(self, view: View, i: int) -> SparseIndex:
        index = view.segments[i].index
        if index is None:
            return self._sealed_index(view.cuts, view.segments[i].start, view.end(i))
        return index

    def _load_index(self, cuts: int, start: Point, end: Point) -> SparseIndex:
        """The index of the sealed segment between two points: its sidecar, or built again."""
        interval, chunk = self._options.index_interval_bytes, self._options.scan_bytes
        # It is only a shortcut: one that cannot be read is like one that is missing.
        with suppress(OSError):
            found = read_sidecar(self._disk, self._directory, start.lsn, interval)
            if found and found[1] == end.lsn:
                return found[0]
        # Not the view of now: it may have dropped the segment.
        view = View((Segment(start, None),), end)
        index = SparseIndex(start.lsn, interval)
        index.extend(self._scan(view, start.lsn, end.lsn, chunk))
        if len(self._rebuilt) < _REBUILT_MAX:
            self._rebuilt[cuts, start, end] = index
        return index


def _continued(point: Point | None, segment: Segment) -> Point:
    """Where `segment` begins, if that is `point`, should that be known; raises DamagedRecord."""
    if point is not None and point != segment.start:
        why = "this segment does not continue the one before it"
        raise DamagedRecord(segment.start.lsn, why)
    return segment.start

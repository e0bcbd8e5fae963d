"""A log: opaque records in a row of segment files, durable when ``sync`` says so.

One thread at a time writes (``reserve``, ``append``, ``sync``, ``drop_before``, ``close``) while any
others read (``read``, ``scan``, ``at_*``): log_reader.py says why that is safe. There is no lock in here.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, final

from chronosdb.wal import layout
from chronosdb.wal.codec import encode_group
from chronosdb.wal.errors import DiskFull, LogClosed, LogDamaged, LogFailed, LogMissing, TooLarge
from chronosdb.wal.index import SparseIndex
from chronosdb.wal.inventory import mark_start, remove_dropped, take_inventory
from chronosdb.wal.log_reader import LogReader, Segment, View
from chronosdb.wal.record import HEADER_BYTES, Point
from chronosdb.wal.segment import LOG_ID_BYTES, SegmentHeader, SegmentInfo, create_segment
from chronosdb.wal.segment_writer import SegmentWriter
from chronosdb.wal.sidecar import write_sidecar
from chronosdb.wal.survey import survey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chronosdb.wal.disk import Disk
    from chronosdb.wal.inventory import Inventory
    from chronosdb.wal.options import LogOptions
    from chronosdb.wal.record import Draft, Record
    from chronosdb.wal.recovery import Recovery
    from chronosdb.wal.survey import Survey

_ORIGIN = Point(lsn=0, offset=0, position=0, ts_ms=0)


@final
class Log:
    """An append-only log in one directory. Make one with :meth:`open`."""

    def __init__(
        self, disk: Disk, directory: str, options: LogOptions, found: Survey, *, writable: bool
    ) -> None:
        self.recovery: Recovery = found.recovery
        """What opening found and did."""
        self.failed: BaseException | None = None
        """The error that ended this log's trust in its disk. Once set it stays set."""
        self._disk = disk
        self._directory = directory
        self._options = options
        self._log_id = found.headers[-1].log_id
        self._index = found.index
        *sealed, last = [header.start for header in found.headers]
        segments = (*(Segment(start, None) for start in sealed), Segment(last, found.index))
        view = View(segments, found.tail)
        self._reader = LogReader(disk, directory, view, options, writable=writable)
        # Invariant: everything below is durable; never above end_lsn.
        self._synced_lsn = min(found.proven_lsn, found.tail.lsn)
        self._segment: SegmentWriter | None = None
        if writable:
            self._start_writing(last.lsn, found.files)

    @classmethod
    def open(
        cls,
        disk: Disk,
        directory: str,
        options: LogOptions,
        *,
        log_id: bytes | None,
        durable_lsn: int = 0,
        writable: bool = True,
    ) -> Log:
        """Opens the log in ``directory``, for writing unless told otherwise, and makes it if missing.

        For writing, a torn tail is cut, and everything that is left is durable on return. Opened
        read-only, nothing is changed, damage is only listed in ``recovery``, and ``log_id=None``
        accepts any log.

        Args:
            disk: the file system.
            directory: where the segments lie; nothing else may lie there.
            options: sizes and limits.
            log_id: 16 bytes that every segment of this log carries.
            durable_lsn: the caller knows that everything below was durable.
            writable: whether to write.

        Raises:
            LogDamaged: durable bytes are gone or wrong; nothing was changed.
            LogMissing: there is none, and ``writable`` is false.
            WrongLog: the directory holds a log of another id.
            LogFailed: the disk failed while the log was made ready for writing.
            DiskFull: there is no room for the first segment.
            OSError: the directory or a file in it cannot be made or read.
        """
        assert durable_lsn >= 0
        assert log_id is None or len(log_id) == LOG_ID_BYTES
        try:
            if writable:
                disk.mkdir(directory)
            found = survey(disk, directory, log_id, durable_lsn, options)
        except LogMissing:
            if not writable:
                raise
            assert log_id is not None, "a new log needs an id"
            create_segment(disk, directory, SegmentHeader(log_id, _ORIGIN))
            found = survey(disk, directory, log_id, durable_lsn, options)
        if writable and found.recovery.damage:
            raise LogDamaged(found.recovery)
        return cls(disk, directory, options, found, writable=writable)

    @property
    def start_lsn(self) -> int:
        """LSN of the oldest record."""
        return self._reader.start.lsn

    @property
    def end_lsn(self) -> int:
        """LSN of the next record."""
        return self._reader.tail.lsn

    @property
    def synced_lsn(self) -> int:
        """Everything below is durable."""
        return self._synced_lsn

    @property
    def next_offset(self) -> int:
        """The next event offset."""
        return self._reader.tail.offset

    @property
    def next_position(self) -> int:
        """The next delivery position."""
        return self._reader.tail.position

    @property
    def last_ts_ms(self) -> int:
        """Time of the last record; 0 in an empty log."""
        return self._reader.tail.ts_ms

    def reserve(self, nbytes: int, *, emergency: bool = False) -> None:
        """Makes sure that the next group, of ``nbytes`` (see Draft.nbytes), will find its space.

        Goes on in a new segment if the group does not fit into this one. Only an ``emergency``
        may use the last ``disk_reserve_bytes`` of the file system.

        Raises:
            DiskFull: there is no room. Nothing was written, and the log goes on working.
            TooLarge: no segment can hold so large a group; split it.
            LogFailed: a write or fsync failed, now or earlier.
        """
        segment = self._writer()
        self._check_group(nbytes)
        with self._fail_stop():
            if nbytes > segment.room:
                if self._spendable(emergency=emergency) < nbytes:
                    raise DiskFull(f"no space for {nbytes} bytes in a new segment: free some")
                segment = self._roll(segment)
            segment.reserve(nbytes, lambda: self._spendable(emergency=emergency))

    def has_space(self) -> bool:
        """Whether the file system has more free space than what is reserved for emergencies."""
        return self._spendable(emergency=False) > 0

    def append(self, drafts: Sequence[Draft]) -> list[Record]:
        """Writes a group with one write, into one segment. It is durable after the next ``sync``.

        Raises:
            TooLarge: a body, or the group, exceeds its limit; nothing was written.
            DiskFull: a new segment was needed and there is no room; nothing was written.
            LogFailed: a write or fsync failed, now or earlier. This group may or may not be in the
                log when it is opened again.
        """
        segment = self._writer()
        if not drafts:
            return []
        nbytes = self._group_bytes(drafts)
        if nbytes > segment.room:
            with self._fail_stop():
                segment = self._roll(segment)
        buffers, records, tail = encode_group(drafts, self._reader.tail, self._synced_lsn)
        assert tail.lsn == self.end_lsn + nbytes
        with self._fail_stop():
            segment.write(buffers, nbytes)
            self._index.extend(records)
            # Last, because it makes the records visible to the reading thread.
            self._reader.advance(tail)
        return records

    def sync(self) -> None:
        """Returns when everything appended is durable.

        Raises:
            LogFailed: a write or fsync failed, now or earlier. A second fsync could claim success
                for bytes that the first one lost, so there is none.
        """
        segment = self._writer()
        end_lsn = self.end_lsn
        if self._synced_lsn == end_lsn:
            return
        with self._fail_stop():
            segment.sync()
        self._synced_lsn = end_lsn

    def segments(self) -> list[SegmentInfo]:
        """All segments, oldest first; there is always one."""
        view = self._reader.view
        return [SegmentInfo(segment.start, view.end(i)) for i, segment in enumerate(view.segments)]

    def drop_before(self, lsn: int) -> None:
        """Deletes every whole segment that ends at or below ``lsn``, but never the last one.

        The log then begins where the first remaining segment does, also after a crash at any moment.
        Whoever reads what is being dropped gets the right records, or OutOfRange.

        Raises:
            DiskFull: nothing changed.
            LogFailed: the disk failed, now or earlier. The segments may or may not be gone when the
                log is opened again, and it is whole either way.
        """
        self._writer()
        first_kept = self._reader.view.at(lsn)
        if first_kept <= 0:
            return
        with self._fail_stop():
            start = self._reader.view.segments[first_kept].start
            mark_start(self._disk, self._directory, start.lsn)
            self._reader.begin_at(first_kept)
            files = take_inventory(self._disk, self._directory)
            remove_dropped(self._disk, self._directory, files)
            # An open file keeps its space.
            self._reader.close_files()

    def read(self, lsn: int) -> Record:
        """The record at ``lsn``, its checksum verified.

        Raises:
            OutOfRange: the log does not reach there.
            DamagedRecord: it is damaged, or no record begins there.
        """
        return self._reader.read(lsn)

    def scan(self, start_lsn: int | None = None, stop_lsn: int | None = None) -> Iterator[Record]:
        """The records from ``start_lsn`` up to ``stop_lsn``; by default all there are now.

        Raises:
            OutOfRange: the log does not hold the whole range.
            DamagedRecord: while iterating, at the first damaged record.
        """
        return self._reader.scan(start_lsn, stop_lsn)

    def at_offset(self, offset: int) -> Record:
        """The record that adds this event offset.

        Raises:
            OutOfRange: none does.
            DamagedRecord: it, or what leads to it, is damaged.
        """
        return self._reader.at_offset(offset)

    def at_position(self, position: int) -> Record:
        """The record that adds this delivery position; raises as ``at_offset``."""
        return self._reader.at_position(position)

    def at_time(self, ts_ms: int) -> Record:
        """The first record not before ``ts_ms``; raises as ``at_offset``."""
        return self._reader.at_time(ts_ms)

    def close(self) -> None:
        """Syncs, gives unused space back, and notes how far the log is durable. Idempotent.

        A failed log is only closed: what it last wrote is judged when it is opened again.

        Raises:
            LogFailed: a write or fsync failed now.
        """
        segment, self._segment = self._segment, None
        try:
            if segment is not None and self.failed is None:
                with self._fail_stop():
                    self._seal(segment)
        except DiskFull:
            # The log itself is durable; only the note did not fit.
            assert self._synced_lsn == self.end_lsn
        finally:
            if segment is not None:
                segment.close()
            self._reader.close()

    def _start_writing(self, base_lsn: int, files: Inventory) -> None:
        """Cuts what is torn, and makes durable what so far may have survived only in memory.

        Nobody may be told about a record that the next power cut would take back: neither its
        bytes nor, after a process died between making a segment and syncing the directory, its file.
        """
        with self._fail_stop():
            for name in files.temporary:
                self._disk.unlink(layout.join(self._directory, name))
            remove_dropped(self._disk, self._directory, files)
            segment = self._open_segment(base_lsn)
            segment.rewrite(self._synced_lsn)
            segment.trim()
            self._disk.fsync_dir(self._directory)
        self._segment = segment
        self._synced_lsn = self.end_lsn

    def _open_segment(self, base_lsn: int) -> SegmentWriter:
        file = self._disk.open(layout.segment_path(self._directory, base_lsn), create=False)
        return SegmentWriter(file, base_lsn, self.end_lsn, self._options)

    def _roll(self, sealed: SegmentWriter) -> SegmentWriter:
        """Goes on in a new segment, which exists only once all before it is durable.

        Raises:
            DiskFull: the log goes on in the old one.
        """
        self._seal(sealed)
        start = self._reader.tail
        create_segment(self._disk, self._directory, SegmentHeader(self._log_id, start))
        self._index = SparseIndex(start.lsn, self._options.index_interval_bytes)
        self._reader.add_segment(Segment(start, self._index))
        self._segment = self._open_segment(start.lsn)
        sealed.close()
        return self._segment

    def _seal(self, segment: SegmentWriter) -> None:
        """Trims and syncs the last segment, and writes its sidecar."""
        end_lsn = self.end_lsn
        segment.trim()
        self._synced_lsn = end_lsn
        write_sidecar(self._disk, self._directory, segment.base_lsn, self._index, end_lsn)

    def _spendable(self, *, emergency: bool) -> int:
        kept = 0 if emergency else self._options.disk_reserve_bytes
        return self._disk.free_bytes(self._directory) - kept

    def _group_bytes(self, drafts: Sequence[Draft]) -> int:
        total = 0
        largest = HEADER_BYTES + self._options.max_record_bytes
        for draft in drafts:
            nbytes = draft.nbytes
            if nbytes > largest:
                raise TooLarge(
                    f"a body of {nbytes - HEADER_BYTES} bytes exceeds max_record_bytes, "
                    f"{self._options.max_record_bytes}"
                )
            total += nbytes
        self._check_group(total)
        return total

    def _check_group(self, nbytes: int) -> None:
        if nbytes > self._options.group_bytes_max:
            raise TooLarge(
                f"a group of {nbytes} bytes does not fit into a segment, which takes "
                f"{self._options.group_bytes_max}: split it"
            )

    def _writer(self) -> SegmentWriter:
        """The segment to write to, if this log may still write at all."""
        if self.failed is not None:
            raise LogFailed(
                f"{self._directory} accepts nothing more since: {self.failed!r}"
            ) from self.failed
        if self._segment is None:
            raise LogClosed(f"{self._directory} is closed, or open for reading only")
        return self._segment

    @contextmanager
    def _fail_stop(self) -> Iterator[None]:
        """Any error inside ends this log for good, but for DiskFull, which promises no change."""
        try:
            yield
        except DiskFull:
            raise
        except BaseException as error:
            self.failed = error
            raise LogFailed(
                f"{self._directory} failed and accepts nothing more: {error!r}"
            ) from error

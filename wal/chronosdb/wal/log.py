"""A log: opaque records in a row of segment files, durable when ``sync`` says so.

One thread at a time uses what this file defines; any others read meanwhile (readable.py): log_reader.py
says why that is safe. There is no lock in here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from chronosdb.wal import layout
from chronosdb.wal.codec import encode_group
from chronosdb.wal.copying import next_piece, records_in
from chronosdb.wal.cutting import begin_reset, finish_reset, forget_cut, mark_cut, remove_above
from chronosdb.wal.errors import DiskFull, LogClosed, LogDamaged, LogMissing, OutOfRange
from chronosdb.wal.fail_stop import FailStop
from chronosdb.wal.index import SparseIndex
from chronosdb.wal.inventory import mark_start, remove_dropped, take_inventory
from chronosdb.wal.log_reader import LogReader
from chronosdb.wal.readable import ReadableLog
from chronosdb.wal.record import Point
from chronosdb.wal.repairing import is_missing, one_record, write_in_place
from chronosdb.wal.segment import LOG_ID_BYTES, SegmentHeader, create_segment
from chronosdb.wal.segment_writer import SegmentWriter
from chronosdb.wal.sidecar import write_sidecar
from chronosdb.wal.survey import survey
from chronosdb.wal.view import Segment, View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chronosdb.wal.disk import Disk
    from chronosdb.wal.options import LogOptions
    from chronosdb.wal.record import Draft, Record
    from chronosdb.wal.recovery import Recovery
    from chronosdb.wal.survey import Survey

_ORIGIN = Point(lsn=0, offset=0, position=0, ts_ms=0)


@final
class Log(ReadableLog):
    """An append-only log in one directory. Make one with :meth:`open`."""

    def __init__(
        self, disk: Disk, directory: str, options: LogOptions, found: Survey, *, writable: bool
    ) -> None:
        self.recovery: Recovery = found.recovery
        """What opening found and did."""
        self._fail_stop = FailStop(directory)
        self._disk = disk
        self._directory = directory
        self._options = options
        self._log_id = found.headers[-1].log_id
        self._index = found.index
        *sealed, last = [header.start for header in found.headers]
        segments = (*(Segment(start, None) for start in sealed), Segment(last, found.index))
        view = View(segments, found.tail)
        super().__init__(LogReader(disk, directory, view, options))
        # Invariant: everything below is durable; never above end_lsn.
        self._synced_lsn = min(found.proven_lsn, found.tail.lsn)
        self._segment: SegmentWriter | None = None
        # Epoch of the last record; None: it must be read.
        self._last_epoch: int | None = None
        if writable:
            self._start_writing()

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
                finish_reset(disk, directory, log_id)
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
    def failed(self) -> BaseException | None:
        """The error that ended this log's trust in its disk. Once set it stays set."""
        return self._fail_stop.error

    @property
    def synced_lsn(self) -> int:
        """Everything below is durable."""
        return self._synced_lsn

    def last_epoch(self) -> int:
        """Epoch of the last record; 0 in an empty log. Raises DamagedRecord if that is damaged."""
        if self._last_epoch is None:
            last = self._reader.last()
            self._last_epoch = last.epoch if last else 0
        return self._last_epoch

    def reserve(self, nbytes: int, *, emergency: bool = False) -> None:
        """Makes sure that the next group, of ``nbytes`` (see Draft.nbytes), will find its space.

        Goes on in a new segment if the group does not fit into this one. Only an ``emergency``
        may use the last ``disk_reserve_bytes`` of the file system, but for ``disk_floor_bytes``.

        Raises:
            DiskFull: there is no room. Nothing was written, and the log goes on working.
            TooLarge: no segment can hold so large a group; split it.
            LogFailed: a write or fsync failed, now or earlier.
        """
        segment = self._writer()
        self._options.check_group(nbytes)
        with self._fail_stop.watch():
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
        nbytes = self._options.group_bytes(draft.nbytes for draft in drafts)
        if nbytes > segment.room:
            with self._fail_stop.watch():
                segment = self._roll(segment)
        buffers, records, tail = encode_group(drafts, self._reader.tail, self._synced_lsn)
        assert tail.lsn == self.end_lsn + nbytes
        self._write(segment, buffers, records)
        return records

    def copy(self, raw: bytes) -> list[Record]:
        """Writes records of another log as they are: what ``raw`` there gave from ``end_lsn`` on.

        Syncs up to where a record says that all was durable before it is written, else a crash might
        make the copy look damaged. All is durable after the next ``sync``. May use the space that is
        kept for emergencies: whoever wrote the records has decided that.

        Returns:
            The records written: all of them, or, if the disk became full on the way, the first.

        Raises:
            BadCopy: they do not continue this log, or are not whole and sound; nothing was written.
            TooLarge: a record fits into no segment here; nothing was written.
            DiskFull: there is no room; nothing was written.
            DamagedRecord: the last record of this log is damaged; nothing was written.
            LogFailed: a write or fsync failed, now or earlier. Any of the records may or may not be
                in the log when it is opened again.
        """
        self._writer()
        records = records_in(raw, self._reader.tail, self.last_epoch())
        for record in records:
            self._options.check_group(record.nbytes)
        done = 0
        while done < len(records):
            try:
                done = self._copy_piece(raw, records, done)
            except DiskFull:
                if done == 0:
                    raise
                break
        return records[:done]

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
        with self._fail_stop.watch():
            segment.sync()
        self._synced_lsn = end_lsn

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
        with self._fail_stop.watch():
            start = self._reader.view.segments[first_kept].start
            mark_start(self._disk, self._directory, start.lsn)
            self._reader.begin_at(first_kept)
            files = take_inventory(self._disk, self._directory)
            remove_dropped(self._disk, self._directory, files)
            # An open file keeps its space.
            self._reader.close_files()

    def truncate(self, lsn: int) -> None:
        """Cuts off the record at ``lsn`` and all behind it; the rest is durable on return.

        After a crash at any moment the log ends at ``lsn`` or where a crash before would have left
        its end. Reading below ``lsn`` goes on meanwhile; who reads above gets OutOfRange, or what
        was there, or what is written there next.

        Raises:
            OutOfRange: the log does not reach there; nothing changed.
            DamagedRecord: no record begins there, or those before it are damaged; nothing changed.
            DiskFull: nothing changed.
            LogFailed: the disk failed, now or earlier. The log may or may not be cut when it is
                opened again, and it is whole either way.
        """
        segment = self._writer()
        if lsn == self.end_lsn:
            self.sync()
            return
        view = self._reader.view_up_to(lsn)
        with self._fail_stop.watch():
            mark_cut(self._disk, self._directory, lsn)
        self._go_on(segment, view)

    def reset(self, start: Point) -> None:
        """Forgets everything: the log is empty, and begins at ``start``; durable on return.

        After a crash at any moment it is that, or what it was. Who reads meanwhile gets OutOfRange.

        Raises:
            DiskFull: nothing changed.
            LogFailed: the disk failed, now or earlier. The log is the old or the new one when it is
                opened again.
        """
        segment = self._writer()
        with self._fail_stop.watch():
            begin_reset(self._disk, self._directory, SegmentHeader(self._log_id, start))
        index = SparseIndex(start.lsn, self._options.index_interval_bytes)
        cuts = self._reader.view.cuts + 1
        self._go_on(segment, View((Segment(start, index),), start, cuts))

    def repair(self, lsn: int, raw: bytes) -> bool:
        """Puts a damaged record back in its place, durably; false if it is there, and sound.

        ``raw`` is that one record, as another copy of this log has it. It may take no byte of a
        record that is sound. A log too damaged to be opened for writing can be repaired while it is
        open read-only, where its records end: then open it again.

        Raises:
            BadCopy: this is not the record that is missing there; nothing was written.
            OutOfRange: the log does not reach there.
            LogFailed: a write or fsync failed, now or earlier.
            LogClosed: the log is closed, or it is open read-only and not damaged.
        """
        damaged = bool(self.recovery.damage)
        if not damaged:
            self._writer()
        there = self._reader.surroundings(lsn, end_is_lost=damaged)
        if not is_missing(one_record(raw, lsn), there):
            return False
        with self._fail_stop.watch():
            written = write_in_place(self._disk, self._directory, there.base_lsn, lsn, raw)
        if not written:
            raise OutOfRange(f"lsn {lsn} has just been dropped")
        return True

    def close(self) -> None:
        """Syncs, gives unused space back, and notes how far the log is durable. Idempotent.

        A failed log is only closed: what it last wrote is judged when it is opened again.

        Raises:
            LogFailed: a write or fsync failed now.
        """
        segment, self._segment = self._segment, None
        try:
            if segment is not None and self.failed is None:
                with self._fail_stop.watch():
                    self._seal(segment)
        except DiskFull:
            # The log itself is durable; only the note did not fit.
            assert self._synced_lsn == self.end_lsn
        finally:
            if segment is not None:
                segment.close()
            self._reader.close()

    def _start_writing(self) -> None:
        """Cuts what is torn, and makes durable what so far may have survived only in memory.

        Nobody may be told about a record that the next power cut would take back: neither its
        bytes nor, after a process died between making a segment and syncing the directory, its file.
        """
        with self._fail_stop.watch():
            files = take_inventory(self._disk, self._directory)
            for name in files.temporary:
                self._disk.unlink(layout.join(self._directory, name))
            remove_dropped(self._disk, self._directory, files)
            remove_above(self._disk, self._directory, files)
            segment = self._open_segment(files.bases[-1])
            segment.rewrite(self._synced_lsn)
            segment.trim()
            self._disk.fsync_dir(self._directory)
            forget_cut(self._disk, self._directory, files)
        self._segment = segment
        self._synced_lsn = self.end_lsn

    def _go_on(self, segment: SegmentWriter, view: View) -> None:
        """Goes on with what is left of the log, as if it had just been opened.

        A name on the disk already says that this is all there is; readers learn it first.
        """
        segment.close()
        self._segment = None
        self._synced_lsn = min(self._synced_lsn, view.tail.lsn)
        self._last_epoch = None
        index = view.segments[-1].index
        assert index is not None
        self._index = index
        self._reader.show(view)
        with self._fail_stop.watch():
            finish_reset(self._disk, self._directory, self._log_id)
        self._start_writing()
        self._reader.close_files()

    def _write(
        self,
        segment: SegmentWriter,
        buffers: Sequence[bytes | memoryview],
        records: Sequence[Record],
    ) -> None:
        """Writes the next records with one write, and lets readers see them."""
        last = records[-1]
        with self._fail_stop.watch():
            segment.write(buffers, last.next_lsn - self.end_lsn)
        self._index.extend(records)
        self._last_epoch = last.epoch
        # Last, because it makes the records visible to the reading threads.
        self._reader.advance(last.end)

    def _copy_piece(self, raw: bytes, records: Sequence[Record], first: int) -> int:
        """Writes as many of the records from ``first`` on as one write may take; the number after.

        Raises:
            DiskFull: there is no room for them; nothing was written.
        """
        lsn = records[first].lsn
        if records[first].synced_lsn > self._synced_lsn:
            self.sync()
        room = self._writer().room
        if records[first].nbytes > room:
            room = self._options.group_bytes_max
        end = next_piece(records, first, room, self._synced_lsn)
        nbytes = records[end - 1].next_lsn - lsn
        self.reserve(nbytes, emergency=True)
        at = lsn - records[0].lsn
        self._write(self._writer(), [memoryview(raw)[at : at + nbytes]], records[first:end])
        return end

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
        # Not the readers who built them: one overtaken by a cut would testify for what is gone.
        for start, end, index in self._reader.rebuilt_sidecars():
            write_sidecar(self._disk, self._directory, start.lsn, index, end.lsn)

    def _spendable(self, *, emergency: bool) -> int:
        options = self._options
        kept = options.disk_floor_bytes if emergency else options.disk_reserve_bytes
        return self._disk.free_bytes(self._directory) - kept

    def _writer(self) -> SegmentWriter:
        """The segment to write to, if this log may still write at all."""
        self._fail_stop.check()
        if self._segment is None:
            raise LogClosed(f"{self._directory} is closed, or open for reading only")
        return self._segment

"""The half of a log that any thread may use while one writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronosdb.wal.segment import SegmentInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chronosdb.wal.errors import DamagedRecord
    from chronosdb.wal.log_reader import LogReader
    from chronosdb.wal.record import Point, Record


class ReadableLog:
    """What a log holds now, and its records."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    @property
    def damage(self) -> DamagedRecord | None:
        """The last damage that somebody met while reading, until it is forgotten."""
        return self._reader.damage

    def forget_damage(self) -> None:
        """Nobody has met any, from now on."""
        self._reader.damage = None

    @property
    def start_lsn(self) -> int:
        """LSN of the oldest record."""
        return self._reader.start.lsn

    @property
    def end_lsn(self) -> int:
        """LSN of the next record."""
        return self._reader.tail.lsn

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

    def segments(self) -> list[SegmentInfo]:
        """All segments, oldest first; there is always one."""
        view = self._reader.view
        return [SegmentInfo(segment.start, view.end(i)) for i, segment in enumerate(view.segments)]

    def rest(self) -> None:
        """Keeps no file open for reading; whoever reads on opens it again. A log may rest at any time.

        Of thousands of logs in one process most are idle: one file each, to write to, is enough.
        """
        self._reader.rest()

    def read(self, lsn: int) -> Record:
        """The record at ``lsn``, its checksum verified.

        Raises:
            OutOfRange: the log does not reach there.
            DamagedRecord: it is damaged, or no record begins there.
        """
        return self._reader.read(lsn)

    def raw(self, lsn: int, max_bytes: int, stop_lsn: int | None = None) -> bytes:
        """Whole records from ``lsn`` on as ``copy`` takes them, verified; nothing at ``stop_lsn``.

        At least one record, however large, and no more than ``max_bytes`` of several; perhaps less
        than there is. ``stop_lsn`` is where a record ends, by default the last.

        Raises:
            OutOfRange: the log does not hold the whole range.
            DamagedRecord: the record at ``lsn`` is damaged, or none begins there.
        """
        return self._reader.raw(lsn, max_bytes, stop_lsn)

    def point(self, lsn: int) -> Point:
        """The point at which the record at ``lsn`` begins, or the log ends.

        Raises:
            OutOfRange: the log does not reach there.
            DamagedRecord: no record begins there, or one before it is damaged.
        """
        return self._reader.point(lsn)

    def epoch_before(self, lsn: int) -> int:
        """Epoch of the record that ends at ``lsn``, damaged or not itself; 0 where the log begins.

        Raises:
            OutOfRange: the log does not reach there.
            DamagedRecord: no record ends there, or that one is damaged.
        """
        return self._reader.epoch_before(lsn)

    def sound_behind(self, lsn: int) -> Iterator[Record]:
        """The valid records behind damage at ``lsn``, up to the end of its segment.

        Raises:
            OutOfRange: the log does not reach there.
        """
        return self._reader.sound_behind(lsn)

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

"""Putting the right bytes of a damaged record back in its place, and never anything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chronosdb.wal import layout
from chronosdb.wal.copying import scan_bytes
from chronosdb.wal.errors import BadCopy, DamagedRecord, UnreadableRecord
from chronosdb.wal.segment import file_position
from chronosdb.wal.segment_reader import Gap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chronosdb.wal.disk import Disk
    from chronosdb.wal.record import Point, Record
    from chronosdb.wal.segment_reader import Pread

# What a disk reads as one: where it fails, the neighbours can still be read.
_SECTOR_BYTES = 512


def one_record(raw: bytes, lsn: int) -> Record:
    """The record that ``raw`` is.

    Raises:
        BadCopy: it is not exactly one whole and sound record of ``lsn``.
    """
    try:
        records = list(scan_bytes(raw, lsn))
    except DamagedRecord as error:
        raise BadCopy(f"cannot repair the log with this copy: {error}") from error
    if len(records) != 1:
        raise BadCopy(f"a repair takes one record, not {len(records)}")
    return records[0]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where in a log a place lies."""

    base_lsn: int
    """Of the segment that holds it."""
    before: Point | None
    """The point at which ``items`` begin, if it is known."""
    items: Iterator[Record | Gap]
    """What is there, from somewhere before the place up to the end of the segment."""
    end: Point | None
    """The point at which the log goes on behind the segment, or ends; None if that is lost."""


def is_missing(record: Record, there: Surroundings) -> bool:
    """Whether ``record`` belongs into a gap; false: it is there, and sound.

    Raises:
        BadCopy: another record, or a part of one, is there, or its neighbours are not the right ones.
    """
    before = there.before
    epoch = 0
    hole: Gap | None = None
    for item in there.items:
        if hole is not None:
            _check_following(record, hole, item)
            return True
        if item.next_lsn <= record.lsn:
            before = None if isinstance(item, Gap) else item.end
            epoch = epoch if isinstance(item, Gap) else item.epoch
        elif isinstance(item, Gap):
            _check_begins(record, item, before)
            _check_epochs(epoch, record.epoch)
            hole = item
        elif item == record:
            return False
        else:
            raise BadCopy(f"the record at lsn {item.lsn} is sound, and is another")
    if hole is None:
        raise BadCopy(f"nothing is missing at lsn {record.lsn}")
    _check_end(record, hole, there.end)
    return True


def _check_begins(record: Record, hole: Gap, before: Point | None) -> None:
    if record.lsn == hole.lsn and before is not None and (why := before.misfit(record)):
        raise BadCopy(f"cannot repair the record at lsn {record.lsn} with this copy: {why}")


def _check_following(record: Record, hole: Gap, following: Record | Gap) -> None:
    _check_room(record, hole)
    if isinstance(following, Gap):
        return
    _check_epochs(record.epoch, following.epoch)
    if record.next_lsn < following.lsn:
        return
    if why := record.end.misfit(following):
        raise BadCopy(f"the copy of lsn {record.lsn} does not lead to the next record: {why}")


def _check_end(record: Record, hole: Gap, end: Point | None) -> None:
    _check_room(record, hole)
    if end is not None and record.next_lsn == end.lsn and record.end != end:
        raise BadCopy(f"the copy of lsn {record.lsn} does not lead to where the log goes on")


def _check_epochs(earlier: int, later: int) -> None:
    if earlier > later:
        raise BadCopy(f"with this copy a record of epoch {later} would follow one of {earlier}")


def _check_room(record: Record, hole: Gap) -> None:
    if record.next_lsn > hole.next_lsn:
        raise BadCopy(
            f"the copy of lsn {record.lsn} would reach to {record.next_lsn}, but only what lies "
            f"before {hole.next_lsn} is damaged"
        )


def around_bad_sectors(pread: Pread) -> Pread:
    """Reads zeros where the disk cannot be read."""

    def read(n: int, pos: int) -> bytes:
        try:
            return pread(n, pos)
        except UnreadableRecord:
            if n <= _SECTOR_BYTES:
                return bytes(n)
            half = n // 2
            return read(half, pos) + read(n - half, pos + half)

    return read


def write_in_place(disk: Disk, directory: str, base_lsn: int, lsn: int, raw: bytes) -> bool:
    """Overwrites bytes of a segment, durable on return; false: another thread has dropped it."""
    try:
        file = disk.open(layout.segment_path(directory, base_lsn), create=False)
    except FileNotFoundError:
        return False
    try:
        file.pwrite([raw], file_position(base_lsn, lsn))
        file.fdatasync()
    finally:
        file.close()
    return True

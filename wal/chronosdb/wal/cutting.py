"""Taking records back: cutting the end off a log, or beginning it anew somewhere else.

Either takes many steps, of which a crash may undo some. So a name is made durable first that says what
the log is from then on; what it contradicts is rubbish, whichever part of it a crash brings back, and the
next open for writing does what is left to do. The name goes, durably, before anything is written again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronosdb.wal import layout
from chronosdb.wal.disk import full_disk_is_clean
from chronosdb.wal.errors import LogDamaged, WrongLog
from chronosdb.wal.inventory import take_inventory
from chronosdb.wal.recovery import Recovery
from chronosdb.wal.segment import SegmentHeader

if TYPE_CHECKING:
    from chronosdb.wal.disk import Disk
    from chronosdb.wal.inventory import Inventory


def mark_cut(disk: Disk, directory: str, end_lsn: int) -> None:
    """Notes that the log ends at ``end_lsn``; durable once the directory is synced.

    Raises:
        DiskFull: nothing changed.
    """
    with full_disk_is_clean("note where the log is cut"):
        disk.open(layout.cut_mark_path(directory, end_lsn), create=True).close()


def remove_above(disk: Disk, directory: str, files: Inventory) -> None:
    """Removes the files above the cut, if there is one; the mark is made durable first."""
    if files.cut_marks:
        disk.fsync_dir(directory)
        for name in files.above:
            disk.unlink(layout.join(directory, name))


def forget_cut(disk: Disk, directory: str, files: Inventory) -> None:
    """Ends a cut: what lay above is durably gone. Else the mark might take what is written next."""
    if files.cut_marks:
        for name in files.cut_marks:
            disk.unlink(layout.join(directory, name))
        disk.fsync_dir(directory)


def begin_reset(disk: Disk, directory: str, header: SegmentHeader) -> None:
    """Makes durable that the log is the empty segment with this header, and nothing else.

    Raises:
        DiskFull: nothing changed.
    """
    path = layout.reset_path(directory, header.start.lsn)
    disk.write_file_atomic(path, header.encode())


def finish_reset(disk: Disk, directory: str, log_id: bytes | None) -> None:
    """Removes all else, and gives the new segment its name; does nothing if no reset was begun.

    Raises:
        LogDamaged: the new segment is; nothing was changed.
        WrongLog: it is of another log than ``log_id`` (None accepts any); nothing was changed.
    """
    files = take_inventory(disk, directory)
    if files.reset is None:
        return
    start_lsn = _check_reset(disk, directory, files.reset, log_id)
    disk.fsync_dir(directory)
    for name in files.above:
        disk.unlink(layout.join(directory, name))
    if start_lsn > 0:
        disk.open(layout.start_mark_path(directory, start_lsn), create=True).close()
    disk.fsync_dir(directory)
    path = layout.join(directory, files.reset)
    disk.rename(path, layout.segment_path(directory, start_lsn))
    disk.fsync_dir(directory)


def _check_reset(disk: Disk, directory: str, name: str, log_id: bytes | None) -> int:
    path = layout.join(directory, name)
    start_lsn = layout.reset_lsn(name)
    assert start_lsn is not None
    try:
        header = SegmentHeader.decode(disk.read_file(path))
    except ValueError as error:
        raise _damaged(directory, f"{path}: {error}") from error
    if header.start.lsn != start_lsn:
        raise _damaged(directory, f"{path}: its header says that it begins at {header.start.lsn}")
    if log_id is not None and header.log_id != log_id:
        raise WrongLog(
            f"{path} belongs to the log {header.log_id.hex()}, not to {log_id.hex()}: "
            "check the data directory"
        )
    return start_lsn


def _damaged(directory: str, problem: str) -> LogDamaged:
    return LogDamaged(Recovery(directory, 0, 0, 0, 0, (problem,)))

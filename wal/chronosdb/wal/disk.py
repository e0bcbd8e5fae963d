"""The seam to the file system: all access to files, apart from LevelDB's own, goes through a Disk.

OsDisk (os_disk.py) is the real one; tests put in one that forgets, tears, fills up and fails.
A path is a str. Any method may raise OSError; the log treats that as the end of trust in the disk.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from chronosdb.wal import layout
from chronosdb.wal.errors import DiskFull

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class File(Protocol):
    """One open file."""

    def pread(self, n: int, pos: int) -> bytes:
        """Up to ``n`` bytes at ``pos``; fewer only at the end of the file."""

    def pwrite(self, buffers: Sequence[bytes | memoryview], pos: int) -> None:
        """Writes all buffers back to back at ``pos``, or raises."""

    def allocate(self, pos: int, n: int) -> None:
        """Reserves space and extends the file with zeros to ``pos + n``, where the disk can.

        Raises:
            DiskFull: there is no room; what the file held is unchanged.
        """

    def fdatasync(self) -> None:
        """Returns when the bytes and size of the file are durable. Never call it again after an error."""

    def truncate(self, size: int) -> None:
        """Cuts the file to ``size`` bytes, or extends it with zeros."""

    def size(self) -> int:
        """Bytes in the file."""

    def close(self) -> None:
        """Gives the handle back, as dropping the last reference to it does."""


class Lock(Protocol):
    """A held lock; the end of the process releases it too."""

    def release(self) -> None:
        """Lets another process have it."""


class Disk(Protocol):
    """A file system."""

    def open(self, path: str, create: bool, *, writable: bool = True) -> File:
        """Opens a file; ``create`` makes it, with mode 0600, if it is missing."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory at this path."""

    def size(self, path: str) -> int:
        """Bytes in the file at this path."""

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""

    def mkdir(self, path: str) -> None:
        """Makes a directory and its missing parents, mode 0700, and makes them durable."""

    def rename(self, source: str, target: str) -> None:
        """Moves a file over ``target``, or a directory to a free name; durable after ``fsync_dir``."""

    def unlink(self, path: str) -> None:
        """Removes a file; durable after ``fsync_dir``."""

    def rmdir(self, path: str) -> None:
        """Removes an empty directory; durable after ``fsync_dir`` of its parent."""

    def fsync_dir(self, path: str) -> None:
        """Makes the names in a directory durable."""

    def free_bytes(self, path: str) -> int:
        """What this process may still write on the file system that holds ``path``."""

    def read_file(self, path: str) -> bytes:
        """The whole content of a file."""

    def write_file_atomic(self, path: str, data: bytes) -> None:
        """Replaces a file durably: after a crash it has the old content or the new, whole.

        Raises:
            DiskFull: there is no room; the old content stands.
        """

    def lock(self, path: str) -> Lock:
        """Locks a file against other processes.

        Raises:
            Locked: another process holds it.
        """


@contextmanager
def full_disk_is_clean(what: str) -> Iterator[None]:
    """Turns "no space" into DiskFull around steps that leave nothing behind when they fail."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFull(f"no space left to {what}: free some, then try again") from error


def replace_file(disk: Disk, path: str, data: bytes) -> None:
    """The steps of write_file_atomic, for every Disk.

    Up to the rename nothing is lost by giving up. After it only the directory's fsync can fail, and
    then nobody knows which content stands: that error stays an OSError even if it is "no space".
    """
    temporary = path + layout.TEMPORARY_SUFFIX
    with full_disk_is_clean(f"write {path}"):
        try:
            _write_whole(disk, temporary, data)
            disk.rename(temporary, path)
        except OSError:
            with suppress(OSError):
                disk.unlink(temporary)
            raise
    disk.fsync_dir(layout.parent(path))


def _write_whole(disk: Disk, path: str, data: bytes) -> None:
    file = disk.open(path, create=True)
    try:
        file.truncate(0)
        file.pwrite([data], 0)
        file.fdatasync()
    finally:
        file.close()

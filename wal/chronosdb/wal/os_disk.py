"""The real file system of a POSIX machine."""

# This file is the seam that the ban on direct disk access points to.
# ruff: noqa: TID251

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, final

from chronosdb.wal.disk import full_disk_is_clean, replace_file
from chronosdb.wal.errors import Locked

if TYPE_CHECKING:
    from collections.abc import Sequence

_BUFFERS_MAX = os.sysconf("SC_IOV_MAX")
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_CANNOT_ALLOCATE = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@final
class OsFile:
    """A file descriptor. It is closed with the last reference to this object, or before."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __del__(self) -> None:
        self.close()

    def pread(self, n: int, pos: int) -> bytes:
        """Reads until ``n`` bytes or the end of the file."""
        data = os.pread(self._fd, n, pos)
        while len(data) < n and (more := os.pread(self._fd, n - len(data), pos + len(data))):
            data += more
        return data

    def pwrite(self, buffers: Sequence[bytes | memoryview], pos: int) -> None:
        """Writes all; a short write is continued, not reported."""
        for first in range(0, len(buffers), _BUFFERS_MAX):
            pos = self._write_some(buffers[first : first + _BUFFERS_MAX], pos)

    def _write_some(self, buffers: Sequence[bytes | memoryview], pos: int) -> int:
        written = os.pwritev(self._fd, buffers, pos)
        end = pos + sum(map(len, buffers))
        pos += written
        if pos < end:
            rest = memoryview(b"".join(buffers))[written:]
            while rest:
                step = os.pwrite(self._fd, rest, pos)
                rest = rest[step:]
                pos += step
        return pos

    def allocate(self, pos: int, n: int) -> None:
        """posix_fallocate, where the file system has it."""
        with full_disk_is_clean(f"reserve {n} bytes"):
            try:
                os.posix_fallocate(self._fd, pos, n)
            except OSError as error:
                if error.errno not in _CANNOT_ALLOCATE:
                    raise

    def fdatasync(self) -> None:
        """Waits for the device."""
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        """Sets the size."""
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        """The size now."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Closes the descriptor, once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@final
class OsLock:
    """An flock on an open file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        """Unlocks by closing. The file stays: removing it would race with the next holder."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@final
class OsDisk:
    """Paths of this machine. Files are made with mode 0600, directories with 0700."""

    def open(self, path: str, create: bool, *, writable: bool = True) -> OsFile:
        """Opens without following a symbolic link at the end of the path."""
        access = os.O_RDWR if writable else os.O_RDONLY
        return OsFile(os.open(path, access | _FLAGS | (os.O_CREAT if create else 0), 0o600))

    def exists(self, path: str) -> bool:
        """Whether the path names anything."""
        return Path(path).exists()

    def size(self, path: str) -> int:
        """The file's size."""
        return Path(path).stat().st_size

    def listdir(self, path: str) -> list[str]:
        """The names, sorted."""
        return sorted(entry.name for entry in Path(path).iterdir())

    def mkdir(self, path: str) -> None:
        """Makes what is missing, outermost first, each durable before the next."""
        chain = [Path(path), *Path(path).parents]
        missing = [directory for directory in chain if not directory.exists()]
        for directory in reversed(missing):
            with suppress(FileExistsError):
                directory.mkdir(mode=0o700)
            self.fsync_dir(str(directory.parent))
        if not missing:
            # A process that died just after making it may have left its name only in memory. Where
            # the parent may not even be read, somebody else made it, long ago.
            with suppress(PermissionError):
                self.fsync_dir(str(Path(path).parent))

    def rename(self, source: str, target: str) -> None:
        """Replaces the target; a directory only if that is empty."""
        Path(source).replace(target)

    def unlink(self, path: str) -> None:
        """Removes the file."""
        Path(path).unlink()

    def rmdir(self, path: str) -> None:
        """Removes the directory."""
        Path(path).rmdir()

    def fsync_dir(self, path: str) -> None:
        """Syncs the directory."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, path: str) -> int:
        """What an unprivileged process may use."""
        stats = os.statvfs(path)
        return stats.f_bavail * stats.f_frsize

    def read_file(self, path: str) -> bytes:
        """Reads it whole."""
        return Path(path).read_bytes()

    def write_file_atomic(self, path: str, data: bytes) -> None:
        """A temporary file, fsync, rename, fsync of the directory."""
        replace_file(self, path, data)

    def lock(self, path: str) -> OsLock:
        """Takes the flock and leaves this process's id in the file for whoever finds it taken."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise Locked(f"{path} is in use by process {holder}: stop it first") from error
        except OSError:
            os.close(fd)
            raise
        return OsLock(fd)

"""A file system in memory that can lose what was not synced, tear a write, and fail at a call."""

from __future__ import annotations

from collections.abc import Sequence


class PowerCutError(OSError):
    """The n-th call to the disk found the power gone; so does every later one."""


class MemoryStorage:
    """Implements `chronosdb.raft.Storage`.

    `fail_at` is the number of the first call that fails. `landed` says how much of that call still
    reached the disk: for a write a number of bytes, for an atomic replacement 0 means the old file.
    """

    def __init__(self, fail_at: int | None = None, landed: int = 0) -> None:
        self.calls = 0
        self.files: dict[str, _Inode] = {}
        self._fail_at = fail_at
        self._landed = landed

    def after_power_cut(self) -> MemoryStorage:
        """What a machine finds that starts again: the durable bytes only."""
        survivor = MemoryStorage()
        survivor.files = {path: _Inode(inode.durable) for path, inode in self.files.items()}
        return survivor

    def after_kill(self) -> MemoryStorage:
        """What a process finds that starts again: the page cache survives."""
        survivor = MemoryStorage()
        survivor.files = {path: _Inode(inode.cached) for path, inode in self.files.items()}
        return survivor

    def due_to_fail(self) -> bool:
        """Count one call that changes the disk; True if it is the one that fails."""
        self.calls += 1
        if self._fail_at is None or self.calls < self._fail_at:
            return False
        if self.calls > self._fail_at:
            raise PowerCutError("no power")
        return True

    @property
    def landed(self) -> int:
        return self._landed

    def open(self, path: str, create: bool) -> MemoryFile:
        if path not in self.files:
            if not create:
                raise FileNotFoundError(path)
            self.files[path] = _Inode(b"")
        return MemoryFile(self, self.files[path])

    def exists(self, path: str) -> bool:
        return path in self.files

    def read_file(self, path: str) -> bytes:
        return self.files[path].cached

    def write_file_atomic(self, path: str, data: bytes) -> None:
        failing = self.due_to_fail()
        if not failing or self._landed:
            self.files[path] = _Inode(data)
        if failing:
            raise PowerCutError(path)


class _Inode:
    def __init__(self, data: bytes) -> None:
        self.cached = data
        self.durable = data


class MemoryFile:
    """Implements `chronosdb.raft.File`."""

    def __init__(self, storage: MemoryStorage, inode: _Inode) -> None:
        self._storage = storage
        self._inode = inode
        self.closed = False

    def pread(self, n: int, pos: int) -> bytes:
        return self._inode.cached[pos : pos + n]

    def pwrite(self, buffers: Sequence[bytes | memoryview], pos: int) -> None:
        data = b"".join(buffers)
        if self._storage.due_to_fail():
            torn = data[: self._storage.landed]
            self._write(torn, pos)
            self._inode.durable = self._inode.cached
            raise PowerCutError("in pwrite")
        self._write(data, pos)

    def fdatasync(self) -> None:
        if self._storage.due_to_fail():
            raise PowerCutError("in fdatasync")
        self._inode.durable = self._inode.cached

    def truncate(self, size: int) -> None:
        if self._storage.due_to_fail():
            raise PowerCutError("in truncate")
        self._inode.cached = self._inode.cached[:size]

    def size(self) -> int:
        return len(self._inode.cached)

    def close(self) -> None:
        self.closed = True

    def _write(self, data: bytes, pos: int) -> None:
        assert not self.closed
        old = self._inode.cached
        assert pos <= len(old), "a hole"
        self._inode.cached = old[:pos] + data + old[pos + len(data) :]

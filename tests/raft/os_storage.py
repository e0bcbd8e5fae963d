"""A real directory as `chronosdb.raft.Storage`, for tests that need a real disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


class OsFile:
    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor

    def pread(self, n: int, pos: int) -> bytes:
        return os.pread(self._fd, n, pos)

    def pwrite(self, buffers: Sequence[bytes | memoryview], pos: int) -> None:
        data = b"".join(buffers)
        assert os.pwrite(self._fd, data, pos) == len(data)

    def fdatasync(self) -> None:
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)


class OsStorage:
    def open(self, path: str, create: bool) -> OsFile:
        return OsFile(os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600))

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def read_file(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def write_file_atomic(self, path: str, data: bytes) -> None:
        file = self.open(f"{path}.new", create=True)
        file.truncate(0)
        file.pwrite([data], 0)
        file.fdatasync()
        file.close()
        os.replace(f"{path}.new", path)  # noqa: PTH105
        directory = os.open(Path(path).parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

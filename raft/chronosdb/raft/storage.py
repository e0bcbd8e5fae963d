"""The one seam to the disk: what this part needs of it, and nothing else.

Structural, so the node's disk fits without either knowing the other. Every call may raise OSError,
and any error is final for the replica (I15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class File(Protocol):
    """An open file."""

    def pread(self, n: int, pos: int, /) -> bytes:
        """Up to `n` bytes from `pos`; fewer only at the end of the file."""

    def pwrite(self, buffers: Sequence[bytes | memoryview], pos: int, /) -> None:
        """Write all of `buffers`, one after the other, or raise."""

    def fdatasync(self) -> None:
        """Make everything written so far, and the size, survive a power cut."""

    def truncate(self, size: int, /) -> None:
        """Cut the file, not yet durably."""

    def size(self) -> int:
        """The file's length in bytes."""

    def close(self) -> None:
        """Release it, without making anything durable."""


class Storage(Protocol):
    """A file system. Paths are '/'-separated strings."""

    def open(self, path: str, create: bool) -> File:
        """Open for reading and writing; a missing file is an error unless `create`."""

    def exists(self, path: str, /) -> bool:
        """Whether there is a file of that name."""

    def read_file(self, path: str, /) -> bytes:
        """All of a file."""

    def write_file_atomic(self, path: str, data: bytes, /) -> None:
        """Replace the file: durably, with the old or the new content at any time, none between."""

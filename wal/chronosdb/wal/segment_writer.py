"""Writing the last segment: an append point in a file, with space allocated ahead of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronosdb.wal.errors import DiskFull
from chronosdb.wal.segment import file_position

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chronosdb.wal.disk import File
    from chronosdb.wal.options import LogOptions

_REWRITE_BYTES = 1 << 20


def allocation(need: int, step: int, limit: int, spendable: int) -> int:
    """How many bytes to allocate when ``need`` are missing: a whole step, or just enough if space is short.

    Raises:
        DiskFull: not even ``need`` bytes may be spent.
    """
    assert 0 < need <= limit
    wish = min(max(step, need), limit)
    if wish <= spendable:
        return wish
    if need <= spendable:
        return need
    raise DiskFull(
        f"{need} bytes needed, {max(spendable, 0)} may be used: free some, then try again"
    )


class SegmentWriter:
    """The only writer of one segment's file. Raises whatever the file raises."""

    __slots__ = ("_allocated", "_end", "_file", "_options", "_step", "base_lsn")

    def __init__(self, file: File, base_lsn: int, end_lsn: int, options: LogOptions) -> None:
        self._file = file
        self.base_lsn = base_lsn
        self._options = options
        # File positions. Invariant: records fill the file up to _end, and the space up to
        # _allocated is ours; _end <= _allocated <= segment_bytes after a reservation.
        self._end = self._allocated = file_position(base_lsn, end_lsn)
        self._step = options.allocate_min_bytes

    @property
    def room(self) -> int:
        """Bytes that still fit into this segment."""
        return self._options.segment_bytes - self._end

    def reserve(self, nbytes: int, spendable: Callable[[], int]) -> None:
        """Makes sure that the next ``nbytes`` have their place on the disk.

        Raises:
            DiskFull: they have not; nothing changed.
        """
        assert nbytes <= self.room
        need = self._end + nbytes - self._allocated
        if need <= 0:
            return
        limit = self._options.segment_bytes - self._allocated
        n = allocation(need, self._step, limit, spendable())
        self._file.allocate(self._allocated, n)
        self._allocated += n
        self._step = min(2 * self._step, self._options.allocate_max_bytes)

    def write(self, buffers: Sequence[bytes | memoryview], nbytes: int) -> None:
        """Appends all buffers, ``nbytes`` in all, in one go."""
        assert 0 < nbytes <= self.room
        self._file.pwrite(buffers, self._end)
        self._end += nbytes
        self._allocated = max(self._allocated, self._end)

    def sync(self) -> None:
        """Returns when everything written is durable."""
        self._file.fdatasync()

    def trim(self) -> None:
        """Cuts whatever lies behind the last record, and syncs."""
        size = self._file.size()
        assert size >= self._end, f"the file lost {self._end - size} bytes while it was open"
        if size > self._end:
            self._file.truncate(self._end)
        self._file.fdatasync()
        self._allocated = self._end

    def rewrite(self, from_lsn: int) -> None:
        """Writes everything from ``from_lsn`` on once more, so that the next sync really syncs it.

        After a failed fsync Linux shows bytes in its cache that it will never write: a later fsync
        of the same bytes, even by another process, succeeds and does nothing.
        """
        pos = file_position(self.base_lsn, max(from_lsn, self.base_lsn))
        while pos < self._end:
            data = self._file.pread(min(_REWRITE_BYTES, self._end - pos), pos)
            assert data, "the file ends before its records do"
            self._file.pwrite([data], pos)
            pos += len(data)

    def close(self) -> None:
        """Closes the file, as it is."""
        self._file.close()

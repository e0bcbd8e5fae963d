"""A segment's sparse index on disk. Losing it costs a scan, never a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronosdb.wal import layout
from chronosdb.wal.index import SparseIndex

if TYPE_CHECKING:
    from chronosdb.wal.disk import Disk


def write_sidecar(
    disk: Disk, directory: str, base_lsn: int, index: SparseIndex, end_lsn: int
) -> None:
    """Stores the index of a segment. Call it only when the segment is durable up to ``end_lsn``.

    Raises:
        DiskFull: nothing changed.
    """
    disk.write_file_atomic(layout.sidecar_path(directory, base_lsn), index.encode(end_lsn))


def read_sidecar(
    disk: Disk, directory: str, base_lsn: int, interval_bytes: int
) -> tuple[SparseIndex, int] | None:
    """The index and how far its segment was durable; None if missing or damaged."""
    path = layout.sidecar_path(directory, base_lsn)
    try:
        return SparseIndex.decode(disk.read_file(path), base_lsn, interval_bytes)
    except (FileNotFoundError, ValueError):
        return None

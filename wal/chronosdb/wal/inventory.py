"""Which files of a directory are the log, and which are left over.

A log that lost its oldest segments begins where its highest start mark says. The mark is durable
before the first file below it is removed, so those may come and go in any order, and none is missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chronosdb.wal import layout
from chronosdb.wal.disk import full_disk_is_clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from chronosdb.wal.disk import Disk


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that others testify for."""

    witness: str
    """Name of the file that says so, or of the missing one itself."""
    lsn: int
    why: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """The files of one log's directory, sorted out by their names."""

    start_lsn: int
    """Where the log begins."""
    bases: tuple[int, ...]
    """Base LSNs of its segments, in order."""
    missing: tuple[Missing, ...]
    dropped: tuple[str, ...]
    """Names of files below the start, and of older marks: the rest of a drop that was cut short."""
    temporary: tuple[str, ...]
    """Names of files that were never finished."""


def take_inventory(disk: Disk, directory: str) -> Inventory:
    """Looks at the names in ``directory``; all is empty if it does not exist."""
    names = disk.listdir(directory) if disk.exists(directory) else []
    start_lsn = max((lsn for _, lsn in _numbered(names, layout.start_mark_lsn)), default=0)
    segments = [base for _, base in _numbered(names, layout.segment_base)]
    bases = tuple(sorted(base for base in segments if base >= start_lsn))
    return Inventory(
        start_lsn,
        bases,
        tuple(_missing(names, start_lsn, bases)),
        tuple(name for name in names if _is_below(name, start_lsn)),
        tuple(name for name in names if name.endswith(layout.TEMPORARY_SUFFIX)),
    )


def mark_start(disk: Disk, directory: str, start_lsn: int) -> None:
    """Notes that the log begins at ``start_lsn``; durable once the directory is synced.

    The mark is a name without content, so a full disk can hardly refuse it.

    Raises:
        DiskFull: nothing changed.
    """
    with full_disk_is_clean("note where the log begins"):
        disk.open(layout.start_mark_path(directory, start_lsn), create=True).close()


def remove_dropped(disk: Disk, directory: str, files: Inventory) -> None:
    """Removes what lies below the start of the log.

    The mark is made durable first. The unlinks are not: what a crash brings back, the next open removes.
    """
    if files.dropped:
        disk.fsync_dir(directory)
        for name in files.dropped:
            disk.unlink(layout.join(directory, name))


def _missing(names: list[str], start_lsn: int, bases: tuple[int, ...]) -> Iterator[Missing]:
    sidecars = [named for named in _numbered(names, layout.sidecar_base) if named[1] >= start_lsn]
    for name, base in sidecars:
        if base not in bases:
            yield Missing(name, base, "the segment of this index is missing")
    # Without any of these there is no log.
    if start_lsn not in bases and (bases or sidecars or start_lsn > 0):
        why = "the log begins here, but its first segment is missing"
        yield Missing(layout.segment_name(start_lsn), start_lsn, why)


def _is_below(name: str, start_lsn: int) -> bool:
    parsers = (layout.segment_base, layout.sidecar_base, layout.start_mark_lsn)
    return any((lsn := parse(name)) is not None and lsn < start_lsn for parse in parsers)


def _numbered(
    names: Iterable[str], parse: Callable[[str], int | None]
) -> Iterator[tuple[str, int]]:
    return ((name, lsn) for name in names if (lsn := parse(name)) is not None)

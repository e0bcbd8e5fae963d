"""Which files of a directory are the log, and which are left over.

A log that lost its oldest segments begins where its highest start mark says, and while its end is being
cut, it ends where the cut mark says. A mark is durable before the first file beyond it is removed, so
those may come and go in any order, and none is missed. While a log is being reset it has no files at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chronosdb.wal import layout
from chronosdb.wal.disk import full_disk_is_clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from chronosdb.wal.disk import Disk


_NUMBERS = (layout.segment_base, layout.sidecar_base, layout.start_mark_lsn)


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
    cut_lsn: int | None
    """Where the log ends at the latest, because a cut there is not finished."""
    cut_marks: tuple[str, ...]
    """Names of the marks that say so: the last that a cut removes."""
    above: tuple[str, ...]
    """Names of files above a cut, or other than a reset: the rest of one that is not finished."""
    reset: str | None
    """Name of the segment that is to replace everything else here."""
    temporary: tuple[str, ...]
    """Names of files that were never finished."""

    def end(self, lsn: int) -> int:
        """How much is left of a log that once went up to here."""
        return lsn if self.cut_lsn is None else min(lsn, self.cut_lsn)


def take_inventory(disk: Disk, directory: str) -> Inventory:
    """Looks at the names in ``directory``; all is empty if it does not exist."""
    names = disk.listdir(directory) if disk.exists(directory) else []
    temporary = tuple(name for name in names if name.endswith(layout.TEMPORARY_SUFFIX))
    resets = [name for name, _ in _numbered(names, layout.reset_lsn)]
    if resets:
        *others, reset = resets
        above = (*others, *(name for name in names if _belongs_to_a_log(name)))
        return Inventory(0, (), (), (), None, (), above, reset, temporary)
    start_lsn = max((lsn for _, lsn in _numbered(names, layout.start_mark_lsn)), default=0)
    cuts = _numbered(names, layout.cut_mark_lsn)
    cut_lsn = min((lsn for _, lsn in cuts), default=None)
    above = tuple(_above(names, cut_lsn)) if cut_lsn is not None else ()
    kept = [name for name in names if name not in above]
    segments = [base for _, base in _numbered(kept, layout.segment_base)]
    bases = tuple(sorted(base for base in segments if base >= start_lsn))
    return Inventory(
        start_lsn,
        bases,
        tuple(_missing(kept, start_lsn, bases)),
        tuple(name for name in kept if _is_below(name, start_lsn)),
        cut_lsn,
        tuple(name for name, _ in cuts),
        above,
        None,
        temporary,
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


def _above(names: list[str], cut_lsn: int) -> Iterator[str]:
    """What lies above a cut, and the sidecar of the segment that is cut: it knows of more."""
    yield from (name for name, base in _numbered(names, layout.segment_base) if base > cut_lsn)
    bases = [base for _, base in _numbered(names, layout.segment_base) if base <= cut_lsn]
    for name, base in _numbered(names, layout.sidecar_base):
        if base > cut_lsn or base == max(bases, default=None):
            yield name


def _belongs_to_a_log(name: str) -> bool:
    parsers = (*_NUMBERS, layout.cut_mark_lsn)
    return any(parse(name) is not None for parse in parsers)


def _is_below(name: str, start_lsn: int) -> bool:
    return any((lsn := parse(name)) is not None and lsn < start_lsn for parse in _NUMBERS)


def _numbered(names: Iterable[str], parse: Callable[[str], int | None]) -> list[tuple[str, int]]:
    return [(name, lsn) for name in names if (lsn := parse(name)) is not None]

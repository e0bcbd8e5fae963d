"""Looking at a log's files before trusting them: reads, decides, changes nothing.

Sealed segments were durable before the next one was made, so their headers and sizes are enough;
damage inside them shows when they are read. The last segment is read record by record.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from chronosdb.wal import layout
from chronosdb.wal.errors import LogDamaged, LogMissing, WrongLog
from chronosdb.wal.index import SparseIndex
from chronosdb.wal.inventory import take_inventory
from chronosdb.wal.recovery import Behind, Ending, Recovery
from chronosdb.wal.segment import SEGMENT_HEADER_BYTES, SegmentHeader
from chronosdb.wal.segment_reader import Gap, SegmentReader
from chronosdb.wal.sidecar import read_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chronosdb.wal.disk import Disk
    from chronosdb.wal.inventory import Inventory
    from chronosdb.wal.options import LogOptions
    from chronosdb.wal.record import Point, Record


@dataclass(frozen=True, slots=True)
class Survey:
    """A log as it was found."""

    files: Inventory
    headers: list[SegmentHeader]
    index: SparseIndex
    """Of the last segment."""
    tail: Point
    """Where the valid records end."""
    proven_lsn: int
    """How far the log was durable, for certain, when it was last written."""
    recovery: Recovery


def survey(
    disk: Disk, directory: str, log_id: bytes | None, durable_lsn: int, options: LogOptions
) -> Survey:
    """Looks at the log in ``directory``; ``durable_lsn`` is how far the caller knows it was durable.

    Raises:
        LogMissing: there is none.
        LogDamaged: a segment's header, or every segment, is gone.
        WrongLog: a segment has another id than ``log_id`` (None accepts any one id).
    """
    files = take_inventory(disk, directory)
    bases = files.bases
    missing = [f"{file.witness}: {file.why}" for file in files.missing]
    if files.reset:
        raise LogMissing(f"{directory} is being reset: open it for writing to finish that")
    if not bases:
        _no_segments(directory, durable_lsn, missing)
    headers = _read_headers(disk, directory, bases)
    _check_log_id(directory, headers, log_id)
    damage = missing + [
        problem
        for header, following in pairwise(headers)
        if (problem := line_up(disk, directory, header.start.lsn, following.start.lsn))
    ]

    index, tail, proven_lsn, ending = _last_segment(disk, directory, headers[-1], files, options)
    sidecar = read_sidecar(disk, directory, bases[-1], options.index_interval_bytes)
    durable_lsn = max(durable_lsn, files.end(sidecar[1]) if sidecar else 0)
    if problem := ending.damage(durable_lsn):
        damage.append(problem)
    torn_bytes = ending.written_end - ending.lsn
    recovery = Recovery(directory, len(bases), bases[0], tail.lsn, torn_bytes, tuple(damage))
    return Survey(files, headers, index, tail, max(proven_lsn, durable_lsn), recovery)


def _no_segments(directory: str, durable_lsn: int, missing: list[str]) -> None:
    if durable_lsn > 0:
        missing = [f"the log was durable up to lsn {durable_lsn}, but is gone", *missing]
    if missing:
        raise LogDamaged(Recovery(directory, 0, 0, 0, 0, tuple(missing)))
    raise LogMissing(f"there is no log in {directory}")


def _read_headers(disk: Disk, directory: str, bases: Sequence[int]) -> list[SegmentHeader]:
    headers: list[SegmentHeader] = []
    damage: list[str] = []
    for base in bases:
        try:
            headers.append(read_header(disk, directory, base))
        except ValueError as error:
            damage.append(f"{layout.segment_path(directory, base)}: {error}")
    if damage:
        raise LogDamaged(Recovery(directory, len(bases), bases[0], bases[-1], 0, tuple(damage)))
    return headers


def read_header(disk: Disk, directory: str, base_lsn: int) -> SegmentHeader:
    """The header of a segment.

    Raises:
        ValueError: it is damaged, or of another place in the log.
    """
    file = disk.open(layout.segment_path(directory, base_lsn), create=False, writable=False)
    try:
        header = SegmentHeader.decode(file.pread(SEGMENT_HEADER_BYTES, 0))
    finally:
        file.close()
    if header.start.lsn != base_lsn:
        raise ValueError(f"its header says that it begins at lsn {header.start.lsn}")
    return header


def _check_log_id(directory: str, headers: list[SegmentHeader], log_id: bytes | None) -> None:
    expected = headers[0].log_id if log_id is None else log_id
    for header in headers:
        if header.log_id != expected:
            raise WrongLog(
                f"{directory} belongs to the log {header.log_id.hex()}, not to {expected.hex()}: "
                "check the data directory"
            )


def line_up(disk: Disk, directory: str, base_lsn: int, next_lsn: int) -> str | None:
    """What is wrong with the size of a sealed segment that ends where the next begins."""
    path = layout.segment_path(directory, base_lsn)
    end_lsn = base_lsn + disk.size(path) - SEGMENT_HEADER_BYTES
    if end_lsn < next_lsn:
        return f"{path}: ends at lsn {end_lsn}, but the next segment begins at {next_lsn}"
    file = disk.open(path, create=False, writable=False)
    try:
        # Zeros are space that was allocated ahead; anything else has no business here.
        written_end = SegmentReader(file.pread, base_lsn).written_end(next_lsn, end_lsn, 1 << 20)
    finally:
        file.close()
    if written_end > next_lsn:
        return (
            f"{path}: has bytes up to lsn {written_end}, but the next segment begins at {next_lsn}"
        )
    return None


def _last_segment(
    disk: Disk, directory: str, header: SegmentHeader, files: Inventory, options: LogOptions
) -> tuple[SparseIndex, Point, int, Ending]:
    path = layout.segment_path(directory, header.start.lsn)
    index = SparseIndex(header.start.lsn, options.index_interval_bytes)
    file = disk.open(path, create=False, writable=False)
    try:
        stop = files.end(header.start.lsn + file.size() - SEGMENT_HEADER_BYTES)
        reader = SegmentReader(file.pread, header.start.lsn)
        tail, proven_lsn, ending = examine(reader, header.start, stop, options.scan_bytes, index)
    finally:
        file.close()
    return index, tail, proven_lsn, ending


def examine(
    reader: SegmentReader, start: Point, stop: int, chunk: int, index: SparseIndex
) -> tuple[Point, int, Ending]:
    """Reads a segment until its records end; fills ``index``.

    Returns the point where they end, the last ``synced_lsn`` among them, and what lies behind.
    """
    point, proven_lsn = start, 0
    items = reader.walk(start.lsn, stop, chunk)
    for item in items:
        if isinstance(item, Gap):
            written_end = reader.written_end(point.lsn, stop, chunk)
            behind = Behind.NOTHING if written_end == point.lsn else _behind(point.lsn, items)
            return point, proven_lsn, Ending(point.lsn, behind, written_end, item.why)
        if why := point.misfit(item):
            written_end = reader.written_end(point.lsn, stop, chunk)
            return point, proven_lsn, Ending(point.lsn, Behind.MISFIT, written_end, why)
        index.add(item)
        point, proven_lsn = item.end, item.synced_lsn
    return point, proven_lsn, Ending(point.lsn, Behind.NOTHING, point.lsn, "the file ends")


def _behind(lsn: int, items: Iterator[Record | Gap]) -> Behind:
    """What the rest of a walk says about the bad place at ``lsn``."""
    found = Behind.RUBBISH
    for item in items:
        if isinstance(item, Gap):
            continue
        if item.synced_lsn > lsn:
            return Behind.WITNESS
        found = Behind.UNSYNCED
    return found

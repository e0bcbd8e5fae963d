"""Records on their way from one log to another, as bytes: cut out whole, and checked before they go in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronosdb.wal.codec import body_bytes
from chronosdb.wal.errors import BadCopy, DamagedRecord, UnreadableRecord
from chronosdb.wal.record import HEADER_BYTES
from chronosdb.wal.segment import SEGMENT_HEADER_BYTES
from chronosdb.wal.segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chronosdb.wal.record import Point, Record


def cut_out(read: Callable[[int], bytes], lsn: int, stop: int, max_bytes: int) -> bytes:
    """The records from ``lsn`` on that end by ``stop`` and fit into ``max_bytes``, at least one.

    ``read`` gives so many bytes from ``lsn`` on. Damage behind the first record only ends the bytes.

    Raises:
        DamagedRecord: the first record is not valid.
    """
    try:
        data = read(min(max(max_bytes, HEADER_BYTES), stop - lsn))
    except UnreadableRecord:
        data = read(HEADER_BYTES)
    first = HEADER_BYTES + body_bytes(data[:HEADER_BYTES], lsn, stop - lsn)
    if first > len(data):
        data = read(first)
    end = lsn
    try:
        for record in scan_bytes(data, lsn):
            end = record.next_lsn
    except DamagedRecord:
        if end == lsn:
            raise
    return data[: end - lsn]


def records_in(raw: bytes, point: Point, epoch: int) -> list[Record]:
    """The records that ``raw`` holds, if they continue a log that ends at ``point`` in ``epoch``.

    Raises:
        BadCopy: they do not, or they are not whole and sound.
    """
    records: list[Record] = []
    try:
        for record in scan_bytes(raw, point.lsn, point):
            if record.epoch < epoch:
                raise BadCopy(
                    f"the record at lsn {record.lsn} is of epoch {record.epoch}, but follows {epoch}"
                )
            epoch = record.epoch
            records.append(record)
    except DamagedRecord as error:
        raise BadCopy(
            f"cannot continue the log at lsn {point.lsn} with this copy: {error}"
        ) from error
    return records


def scan_bytes(data: bytes, lsn: int, point: Point | None = None) -> Iterator[Record]:
    """The records in bytes that lie at ``lsn`` of a log, each a neighbour of the one before.

    Raises:
        DamagedRecord: while iterating, at the first that is not whole and sound.
    """
    chunk = max(len(data), HEADER_BYTES)
    for record in _in_memory(data, lsn).scan(lsn, lsn + len(data), chunk):
        if point is not None and (why := point.misfit(record)):
            raise DamagedRecord(record.lsn, why)
        yield record
        point = record.end


def next_piece(records: Sequence[Record], first: int, room: int, synced_lsn: int) -> int:
    """The number after the last of the records from ``first`` on that one write may take.

    They fit into ``room`` together, and none says that more was durable than ``synced_lsn``: it would
    make those before it, torn, look damaged.
    """
    stop = records[first].lsn + room
    end = first
    while (
        end < len(records)
        and records[end].next_lsn <= stop
        and records[end].synced_lsn <= synced_lsn
    ):
        end += 1
    return end


def _in_memory(data: bytes, lsn: int) -> SegmentReader:
    def pread(n: int, pos: int) -> bytes:
        at = pos - SEGMENT_HEADER_BYTES
        return data[at : at + n]

    return SegmentReader(pread, lsn)

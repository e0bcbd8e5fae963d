"""The bytes of a record (FORMAT.md): a header of 64, little-endian, then the body."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from chronosdb.wal.crc import crc32c
from chronosdb.wal.errors import DamagedRecord
from chronosdb.wal.record import HEADER_BYTES, Point, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chronosdb.wal.record import Draft

# A limit of the format, not an option: it bounds what a damaged length can make a reader load.
BODY_BYTES_MAX = 1 << 28

# All fields but the crc, which comes first and covers these and the body.
_FIELDS = struct.Struct("<IQQQQqIIIHH")
_CRC = struct.Struct("<I")
assert _CRC.size + _FIELDS.size == HEADER_BYTES


def encode_group(
    drafts: Iterable[Draft], point: Point, synced_lsn: int
) -> tuple[list[bytes], list[Record], Point]:
    """The buffers to write for a group at ``point``, its records, and the point it leaves."""
    buffers: list[bytes] = []
    records: list[Record] = []
    lsn, offset, position, ts_ms = point.lsn, point.offset, point.position, point.ts_ms
    for draft in drafts:
        body = _join(draft)
        length = HEADER_BYTES + len(body)
        ts_ms = max(draft.ts_ms, ts_ms)
        kind, epoch, offsets, positions = draft.kind, draft.epoch, draft.offsets, draft.positions
        fields = _FIELDS.pack(
            length,
            lsn,
            synced_lsn,
            offset,
            position,
            ts_ms,
            epoch,
            offsets,
            positions,
            kind,
            0,
        )
        buffers += (_CRC.pack(crc32c(body, crc32c(fields))), fields, body)
        view = memoryview(body)
        records.append(
            Record(lsn, synced_lsn, kind, epoch, ts_ms, offset, offsets, position, positions, view)
        )
        lsn += length
        offset += offsets
        position += positions
    return buffers, records, Point(lsn, offset, position, ts_ms)


def body_bytes(header: bytes, lsn: int, room: int) -> int:
    """How many bytes of body follow this header, if a record of at most ``room`` bytes is here.

    Raises:
        DamagedRecord: the bytes cannot be the header of the record at ``lsn``.
    """
    if len(header) < HEADER_BYTES or room < HEADER_BYTES:
        raise DamagedRecord(lsn, "the file ends inside its header")
    length, own_lsn = struct.unpack_from("<IQ", header, _CRC.size)
    if length == 0:
        raise DamagedRecord(lsn, "nothing is written here")
    if own_lsn != lsn:
        raise DamagedRecord(lsn, f"these bytes say they are of lsn {own_lsn}")
    if not HEADER_BYTES <= length <= HEADER_BYTES + BODY_BYTES_MAX:
        raise DamagedRecord(lsn, f"its length {length} is impossible")
    if length > room:
        raise DamagedRecord(lsn, f"its length is {length}, but only {room} bytes are left")
    result: int = length - HEADER_BYTES
    return result


def decode(header: bytes, body: bytes, lsn: int) -> Record:
    """The record at ``lsn``, every field checked. ``body`` is as long as body_bytes said, or shorter.

    Raises:
        DamagedRecord: these bytes are not that record.
    """
    (crc,) = _CRC.unpack_from(header)
    fields = header[_CRC.size :]
    (
        length,
        own_lsn,
        synced_lsn,
        offset,
        position,
        ts_ms,
        epoch,
        offsets,
        positions,
        kind,
        zero,
    ) = _FIELDS.unpack(fields)
    assert own_lsn == lsn, "body_bytes comes first"
    if length != HEADER_BYTES + len(body):
        raise DamagedRecord(lsn, "the file ends inside its body")
    if crc32c(body, crc32c(fields)) != crc:
        raise DamagedRecord(lsn, "its checksum does not match its bytes")
    if kind == 0 or zero != 0 or synced_lsn > lsn:
        raise DamagedRecord(
            lsn, "its fields are not of this format: was it written by a newer one?"
        )
    view = memoryview(body)
    return Record(lsn, synced_lsn, kind, epoch, ts_ms, offset, offsets, position, positions, view)


def _join(draft: Draft) -> bytes:
    """The body as bytes, without a copy where the caller already has one.

    The fast checksum takes only bytes; one join of 280 KB (7 µs) costs less than what avoiding it
    would: a checksum call and a write buffer per piece, and a join for the reader of the record.
    """
    if len(draft.body) == 1 and isinstance(draft.body[0], bytes):
        return draft.body[0]
    return b"".join(draft.body)

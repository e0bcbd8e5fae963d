"""One segment file: its header, and where in it an LSN lies.

The header carries the whole Point at which the segment begins, so that an empty segment still
knows the next offset, and two neighbours can be checked against each other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chronosdb.wal import layout
from chronosdb.wal.crc import crc32c
from chronosdb.wal.record import Point

if TYPE_CHECKING:
    from chronosdb.wal.disk import Disk

MAGIC = b"CHRN"
FORMAT_VERSION = 1
LOG_ID_BYTES = 16

# magic, version, log id, base lsn, offset, position, ts_ms, reserved; then the crc of these.
_FIELDS = struct.Struct("<4sI16sQQQqI")
_CRC = struct.Struct("<I")
SEGMENT_HEADER_BYTES = _FIELDS.size + _CRC.size
assert SEGMENT_HEADER_BYTES == 64


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment says of itself."""

    log_id: bytes
    start: Point

    def encode(self) -> bytes:
        """The first 64 bytes of the file."""
        assert len(self.log_id) == LOG_ID_BYTES
        start = self.start
        fields = _FIELDS.pack(
            MAGIC,
            FORMAT_VERSION,
            self.log_id,
            start.lsn,
            start.offset,
            start.position,
            start.ts_ms,
            0,
        )
        return fields + _CRC.pack(crc32c(fields))

    @classmethod
    def decode(cls, data: bytes) -> SegmentHeader:
        """The header in the first bytes of a file.

        Raises:
            ValueError: they are not a header this version can read.
        """
        if len(data) < SEGMENT_HEADER_BYTES:
            raise ValueError(f"the file has only {len(data)} bytes")
        fields = data[: _FIELDS.size]
        magic, version, log_id, lsn, offset, position, ts_ms, reserved = _FIELDS.unpack(fields)
        if magic != MAGIC:
            raise ValueError("the file does not begin like a segment")
        # Before the checksum: another version may keep its checksum elsewhere.
        if version != FORMAT_VERSION:
            raise ValueError(
                f"it says format version {version}; this program reads {FORMAT_VERSION}"
            )
        if _CRC.unpack_from(data, _FIELDS.size)[0] != crc32c(fields) or reserved != 0:
            raise ValueError("the checksum of its header does not match")
        return cls(log_id, Point(lsn, offset, position, ts_ms))


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A segment as whoever decides what to drop sees it."""

    start: Point
    end: Point
    """Where the next one begins; the end of the log for the last one."""

    @property
    def nbytes(self) -> int:
        """Bytes of its records."""
        return self.end.lsn - self.start.lsn


def file_position(base_lsn: int, lsn: int) -> int:
    """Where in the segment's file the byte of the log at ``lsn`` lies."""
    assert lsn >= base_lsn
    return SEGMENT_HEADER_BYTES + lsn - base_lsn


def create_segment(disk: Disk, directory: str, header: SegmentHeader) -> None:
    """Makes an empty segment durable. Atomic: a segment file always has a whole header.

    Raises:
        DiskFull: nothing changed.
        OSError: the file may or may not exist now.
    """
    path = layout.segment_path(directory, header.start.lsn)
    assert not disk.exists(path), f"{path} exists"
    disk.write_file_atomic(path, header.encode())

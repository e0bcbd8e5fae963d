from __future__ import annotations

import pytest

from chronosdb.wal import Point
from chronosdb.wal.crc import crc32c
from chronosdb.wal.segment import (
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    create_segment,
    file_position,
)
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import LOG_ID

HEADER = SegmentHeader(LOG_ID, Point(lsn=512, offset=40, position=20, ts_ms=1_700_000_000_000))


def test_a_header_reads_back_as_it_was_written() -> None:
    data = HEADER.encode()
    assert len(data) == SEGMENT_HEADER_BYTES
    assert SegmentHeader.decode(data + b"records") == HEADER


def test_any_flipped_bit_of_a_header_is_found() -> None:
    good = HEADER.encode()
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"segment|checksum|version"):
            SegmentHeader.decode(bytes(bad))


def test_a_short_file_is_no_segment() -> None:
    with pytest.raises(ValueError, match="only 63 bytes"):
        SegmentHeader.decode(HEADER.encode()[:63])


def test_a_newer_format_is_named_even_if_its_checksum_is_elsewhere() -> None:
    newer = bytearray(HEADER.encode())
    newer[4] = 2
    with pytest.raises(ValueError, match="says format version 2; this program reads 1"):
        SegmentHeader.decode(bytes(newer))


def test_a_reserved_field_in_use_is_not_read_as_version_1() -> None:
    data = bytearray(HEADER.encode()[:-4])
    data[-4] = 1
    with pytest.raises(ValueError, match="checksum"):
        SegmentHeader.decode(bytes(data) + crc32c(bytes(data)).to_bytes(4, "little"))


def test_an_lsn_is_a_place_in_the_file_by_arithmetic() -> None:
    assert file_position(512, 512) == SEGMENT_HEADER_BYTES
    assert file_position(512, 600) == SEGMENT_HEADER_BYTES + 88


def test_a_new_segment_survives_a_power_cut_at_once() -> None:
    disk = MemoryDisk()
    disk.mkdir("/log")
    create_segment(disk, "/log", HEADER)
    disk.crash()
    assert disk.read_file("/log/00000000000000000512.log") == HEADER.encode()

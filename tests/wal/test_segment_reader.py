from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.wal import DamagedRecord, Draft, Point, Record
from chronosdb.wal.codec import encode_group
from chronosdb.wal.segment import SEGMENT_HEADER_BYTES
from chronosdb.wal.segment_reader import Gap, SegmentReader, candidates

CHUNK = 128


def image(base: int, sizes: list[int]) -> tuple[bytearray, list[Record]]:
    start = Point(base, 0, 0, 0)
    buffers, records, _ = encode_group([Draft(1, 0, [b"\1" * n]) for n in sizes], start, 0)
    return bytearray(bytes(SEGMENT_HEADER_BYTES) + b"".join(buffers)), records


def reader_of(data: bytearray, base: int) -> SegmentReader:
    return SegmentReader(lambda n, pos: bytes(data[pos : pos + n]), base)


def end_of(data: bytearray, base: int) -> int:
    return base + len(data) - SEGMENT_HEADER_BYTES


@settings(max_examples=50)
@given(st.lists(st.integers(0, 300), max_size=20), st.integers(64, 400), st.integers(0, 10**6))
def test_a_scan_gives_all_records_with_any_buffer(sizes: list[int], chunk: int, base: int) -> None:
    data, records = image(base, sizes)
    reader = reader_of(data, base)
    assert list(reader.scan(base, end_of(data, base), chunk)) == records
    for record in records:
        assert reader.read(record.lsn, record.next_lsn, chunk) == record


def test_a_scan_stops_at_the_first_bad_record() -> None:
    data, records = image(0, [50] * 5)
    data[SEGMENT_HEADER_BYTES + records[2].lsn + 70] ^= 1
    scan = reader_of(data, 0).scan(0, end_of(data, 0), CHUNK)
    assert [next(scan), next(scan)] == records[:2]
    with pytest.raises(DamagedRecord) as caught:
        next(scan)
    assert caught.value.lsn == records[2].lsn


def test_a_record_must_end_before_the_stop() -> None:
    data, [record] = image(0, [50])
    with pytest.raises(DamagedRecord, match="only 113 bytes are left"):
        reader_of(data, 0).read(0, record.next_lsn - 1, CHUNK)


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 200), min_size=3, max_size=12),
    st.data(),
    st.sampled_from([0, 200, 65_400, 65_536 * 3 - 100, 2**40 + 65_500]),
)
def test_a_walk_finds_every_undamaged_record(
    sizes: list[int], data: st.DataObject, base: int
) -> None:
    """Also where the upper bytes of the LSN change between two records, and where they are zero."""
    bytes_, records = image(base, sizes)
    hit = set(data.draw(st.lists(st.sampled_from(range(len(sizes))), max_size=3)))
    for i in hit:
        at = data.draw(st.integers(0, 63 + sizes[i]))
        bytes_[SEGMENT_HEADER_BYTES + records[i].lsn - base + at] ^= 0xFF
    items = list(reader_of(bytes_, base).walk(base, end_of(bytes_, base), CHUNK))
    found = [item for item in items if isinstance(item, Record)]
    assert found == [record for i, record in enumerate(records) if i not in hit]
    edges = [(i.lsn, i.next_lsn) for i in items]
    assert [start for start, _ in edges[1:]] == [end for _, end in edges[:-1]]
    assert edges[0][0] == base
    assert edges[-1][1] == end_of(bytes_, base)


def test_a_long_stretch_of_zeros_is_one_gap() -> None:
    data, [first] = image(0, [10])
    data += bytes(200_000)
    items = list(reader_of(data, 0).walk(0, end_of(data, 0), 4096))
    assert items == [first, Gap(first.next_lsn, end_of(data, 0), "nothing is written here")]


def test_a_record_far_behind_the_damage_is_found() -> None:
    sizes = [10, 150_000, 20]
    data, records = image(0, sizes)
    data[SEGMENT_HEADER_BYTES + records[1].lsn + 5] ^= 0xFF
    found = reader_of(data, 0).find(records[1].lsn + 1, end_of(data, 0))
    assert found == records[2]


def test_a_record_at_the_very_start_of_a_stretch_is_found() -> None:
    """The search goes by stretches of 64 KiB of LSNs: none of their edges may be skipped."""
    for lsn in (65_535, 65_536, 65_537):
        data, [first, second] = image(lsn - 164, [100, 20])
        assert second.lsn == lsn
        data[SEGMENT_HEADER_BYTES + 5] ^= 0xFF
        assert reader_of(data, first.lsn).find(first.lsn + 1, second.next_lsn) == second


def test_written_end_is_behind_the_last_byte_that_is_not_zero() -> None:
    data = bytearray(SEGMENT_HEADER_BYTES + 1000)
    reader = reader_of(data, 0)
    assert reader.written_end(100, 1000, CHUNK) == 100
    for at in (100, 101, 500, 999):
        data[SEGMENT_HEADER_BYTES + at] = 1
        assert reader.written_end(100, 1000, CHUNK) == at + 1


@given(
    lsn=st.sampled_from([0, 1, 300, 65_530, 65_536, 65_537, 1 << 24]),
    length=st.integers(1, 200),
    rubbish=st.dictionaries(st.integers(0, 200), st.integers(1, 255), max_size=3),
    headers=st.lists(st.integers(0, 200), max_size=2),
)
def test_every_place_that_names_itself_is_found_however_much_space_is_around_it(
    lsn: int, length: int, rubbish: dict[int, int], headers: list[int]
) -> None:
    """By its LSN field, compared with looking at every single byte."""
    end = min((lsn // 65_536 + 1) * 65_536, lsn + length)
    data = bytearray(end - lsn + 8)
    for at, byte in rubbish.items():
        data[at % len(data)] = byte
    for at in headers:
        place = at % (end - lsn)
        data[place : place + 8] = (lsn + place).to_bytes(8, "little")
    there = [n for n in range(lsn, end) if data[n - lsn :][:8] == n.to_bytes(8, "little")]
    assert list(candidates(bytes(data), lsn, end)) == there

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.wal import Draft, Point, Record
from chronosdb.wal.codec import encode_group
from chronosdb.wal.index import Column, SparseIndex

START = Point(lsn=1000, offset=5, position=7, ts_ms=100)


def make_records(sizes: list[int]) -> list[Record]:
    drafts = [
        Draft(1, 100 + 10 * i, [bytes(size)], offsets=size % 3, positions=size % 2)
        for i, size in enumerate(sizes)
    ]
    return encode_group(drafts, START, 0)[1]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 300), max_size=40), st.integers(1, 500))
def test_floor_leads_to_the_last_noted_record_not_above(sizes: list[int], interval: int) -> None:
    records = make_records(sizes)
    index = SparseIndex(START.lsn, interval).extend(records)
    noted: list[Record] = []
    for record in records:
        if not noted or record.lsn >= noted[-1].lsn + interval:
            noted.append(record)
    assert len(index) == len(noted)
    columns: tuple[Column, ...] = ("offset", "position", "ts_ms")
    for column in columns:
        for at_most in range(0, 600, 7):
            below = [r.lsn for r in noted if getattr(r, column) <= at_most]
            assert index.floor(column, at_most) == (below[-1] if below else START.lsn)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 300), max_size=40))
def test_a_sidecar_reads_back_and_goes_on_like_the_index_it_was(sizes: list[int]) -> None:
    records = make_records(sizes)
    whole = SparseIndex(START.lsn, 128).extend(records)
    half = SparseIndex(START.lsn, 128).extend(records[: len(records) // 2])
    again, end = SparseIndex.decode(half.encode(4321), START.lsn, 128)
    assert end == 4321
    assert again.extend(records[len(records) // 2 :]).encode(9) == whole.encode(9)


def test_an_entry_takes_32_bytes() -> None:
    records = make_records([200] * 10)
    empty = len(SparseIndex(START.lsn, 1).encode(0))
    assert len(SparseIndex(START.lsn, 1).extend(records).encode(0)) == empty + 32 * 10


def test_any_flipped_bit_of_a_sidecar_is_found() -> None:
    good = SparseIndex(START.lsn, 1).extend(make_records([5, 6, 7])).encode(2000)
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="sidecar"):
            SparseIndex.decode(bytes(bad), START.lsn, 1)


def test_a_sidecar_that_is_cut_or_of_another_segment_is_refused() -> None:
    good = SparseIndex(START.lsn, 1).extend(make_records([5, 6, 7])).encode(2000)
    for size in (0, 10, 31, len(good) - 1):
        with pytest.raises(ValueError, match="sidecar"):
            SparseIndex.decode(good[:size], START.lsn, 1)
    with pytest.raises(ValueError, match="not of this segment"):
        SparseIndex.decode(good, START.lsn + 1, 1)

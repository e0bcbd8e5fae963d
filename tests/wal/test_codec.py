from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.wal import HEADER_BYTES, DamagedRecord, Draft, Point, Record
from chronosdb.wal.codec import BODY_BYTES_MAX, body_bytes, decode, encode_group

U32 = st.integers(0, 2**32 - 1)
U63 = st.integers(0, 2**63 - 1)
POINT = Point(lsn=4096, offset=70, position=30, ts_ms=5000)


def viewed(data: bytes) -> memoryview:
    return memoryview(data)


drafts = st.builds(
    Draft,
    kind=st.integers(1, 2**16 - 1),
    ts_ms=st.integers(-(2**63), 2**63 - 1),
    body=st.lists(
        st.binary(max_size=40) | st.binary(max_size=40).map(viewed),
        max_size=4,
    ),
    offsets=U32,
    positions=U32,
    epoch=U32,
)
points = st.builds(Point, lsn=U63, offset=U63, position=U63, ts_ms=U63)


def read_back(data: bytes, lsn: int) -> Record:
    header = data[:HEADER_BYTES]
    n = body_bytes(header, lsn, len(data))
    return decode(header, data[HEADER_BYTES : HEADER_BYTES + n], lsn)


@settings(max_examples=60)
@given(st.lists(drafts, max_size=4), points)
def test_a_group_reads_back_as_it_was_written(group: list[Draft], start: Point) -> None:
    buffers, records, end = encode_group(group, start, start.lsn)
    data = b"".join(buffers)
    assert len(data) == sum(draft.nbytes for draft in group) == end.lsn - start.lsn
    point = start
    for draft, record in zip(group, records, strict=True):
        assert read_back(data[record.lsn - start.lsn :], record.lsn) == record
        assert point.misfit(record) is None
        assert bytes(record.body) == b"".join(draft.body)
        assert record.ts_ms == max(draft.ts_ms, point.ts_ms)
        assert (record.kind, record.epoch) == (draft.kind, draft.epoch)
        assert (record.offsets, record.positions) == (draft.offsets, draft.positions)
        assert record.next_lsn == record.end.lsn
        point = record.end
    assert point == end


def test_one_buffer_of_bytes_is_written_without_a_copy() -> None:
    payload = b"x" * 1000
    buffers, records, _ = encode_group([Draft(1, 0, [payload])], POINT, 0)
    assert buffers[-1] is payload
    assert records[0].body.obj is payload


def test_any_flipped_bit_is_found() -> None:
    buffers, _, _ = encode_group([Draft(3, 6000, [b"payload"], 2, 1, 9)], POINT, 100)
    good = b"".join(buffers)
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedRecord):
            read_back(bytes(bad), POINT.lsn)


def test_a_record_is_valid_only_in_its_own_place() -> None:
    buffers, _, _ = encode_group([Draft(3, 6000, [b"payload"])], POINT, 100)
    with pytest.raises(DamagedRecord, match="say they are of lsn 4096"):
        read_back(b"".join(buffers), 8192)


def test_a_record_cut_anywhere_is_damaged() -> None:
    buffers, _, _ = encode_group([Draft(3, 6000, [b"payload"])], POINT, 100)
    data = b"".join(buffers)
    for size in range(len(data)):
        with pytest.raises(DamagedRecord):
            read_back(data[:size], POINT.lsn)


def test_zeros_are_not_a_record() -> None:
    with pytest.raises(DamagedRecord, match="nothing is written here"):
        body_bytes(bytes(HEADER_BYTES), 0, 1000)


def test_a_length_beyond_the_format_is_refused_before_anything_is_read() -> None:
    header = bytearray(HEADER_BYTES)
    header[4:8] = (HEADER_BYTES + BODY_BYTES_MAX + 1).to_bytes(4, "little")
    with pytest.raises(DamagedRecord, match="impossible"):
        body_bytes(bytes(header), 0, 1 << 40)


def test_a_short_body_is_damage() -> None:
    buffers, _, _ = encode_group([Draft(3, 6000, [b"payload"])], POINT, 100)
    data = b"".join(buffers)
    with pytest.raises(DamagedRecord, match="ends inside its body"):
        decode(data[:HEADER_BYTES], data[HEADER_BYTES:-1], POINT.lsn)


def test_a_record_that_claims_to_know_its_own_future_is_refused() -> None:
    buffers, _, _ = encode_group([Draft(3, 6000, [b"payload"])], POINT, POINT.lsn + 1)
    with pytest.raises(DamagedRecord, match="not of this format"):
        read_back(b"".join(buffers), POINT.lsn)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 0},
        {"kind": 1 << 16},
        {"ts_ms": 1 << 63},
        {"offsets": -1},
        {"offsets": 1 << 32},
        {"positions": 1 << 32},
        {"epoch": -1},
    ],
)
def test_a_number_that_does_not_fit_its_field_is_refused(change: dict[str, int]) -> None:
    fields: dict[str, int] = {"kind": 1, "ts_ms": 0, **change}
    with pytest.raises(ValueError, match="must"):
        Draft(body=[b""], **fields)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (Point(0, 70, 30, 5000), "expected the record of lsn 0"),
        (Point(4096, 71, 30, 5000), "its offset is 70"),
        (Point(4096, 70, 29, 5000), "its position is 30"),
        (Point(4096, 70, 30, 5001), "its time 5000 is before 5001"),
    ],
)
def test_a_record_that_does_not_continue_the_log_says_why(point: Point, message: str) -> None:
    _, [record], _ = encode_group([Draft(1, 0, [])], POINT, 0)
    assert POINT.misfit(record) is None
    assert message in (point.misfit(record) or "")

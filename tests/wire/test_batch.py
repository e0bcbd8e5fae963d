from __future__ import annotations

import tracemalloc
from array import array

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chronosdb.wire import BatchBuilder, EventBatch, Row, encode_batch
from chronosdb.wire.batch import EXPIRES, NOW, RELATIVE
from chronosdb.wire.errors import InvalidArgument, ProtocolError
from chronosdb.wire.limits import (
    MAX_BATCH_EVENTS,
    MAX_KEY_BYTES,
    MAX_META_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_TIME_MS,
)
from tests.wire.strategies import BATCHES, ROW_LISTS


def rows_of(batch: EventBatch) -> list[Row]:
    """Every field of every event, read back one by one."""
    return [
        Row(
            batch.message_id(i),
            batch.due[i],
            batch.key(i) or b"",
            batch.meta(i),
            batch.payload(i),
            batch.flags[i] & ~EXPIRES,
            batch.expires(i),
        )
        for i in range(batch.count)
    ]


def expiry_of(row: Row) -> bytes:
    """The first bytes of the body of an event that expires."""
    return b"" if row.expires_ms is None else row.expires_ms.to_bytes(8, "little", signed=True)


@given(ROW_LISTS)
def test_every_field_comes_back(rows: list[Row]) -> None:
    batch = EventBatch(encode_batch(rows))
    assert rows_of(batch) == rows
    assert batch.ids() == [row.message_id for row in rows]
    assert [bytes(batch.body(i)) for i in range(batch.count)] == [
        expiry_of(row) + row.key + row.meta + row.payload for row in rows
    ]
    assert bool(batch.expiry_len) is any(row.expires_ms is not None for row in rows)


@given(ROW_LISTS)
def test_an_event_without_a_key_has_none(rows: list[Row]) -> None:
    batch = EventBatch(encode_batch(rows))
    assert [batch.key(i) for i in range(batch.count)] == [row.key or None for row in rows]


@given(st.lists(BATCHES, min_size=1, max_size=4), st.data())
def test_a_builder_joins_slices_as_if_encoded_together(
    batches: list[EventBatch], data: st.DataObject
) -> None:
    builder, expected = BatchBuilder(), []
    for batch in batches:
        start = data.draw(st.integers(0, batch.count - 1))
        stop = data.draw(st.integers(start + 1, batch.count))
        builder.add(batch, start, stop)
        expected += rows_of(batch)[start:stop]
    built = builder.build()
    assert built == encode_batch(expected)
    assert (builder.count, builder.nbytes) == (len(expected), len(built))


@given(BATCHES, st.data())
def test_select_keeps_the_chosen_events(batch: EventBatch, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, batch.count - 1), min_size=1, max_size=5))
    rows = rows_of(batch)
    assert rows_of(batch.select(indices)) == [rows[i] for i in indices]


@given(BATCHES)
def test_replacing_due_times_changes_nothing_else(batch: EventBatch) -> None:
    changed = batch.with_due(array("q", range(batch.count)).tobytes())
    assert rows_of(changed) == [row._replace(due_ms=i) for i, row in enumerate(rows_of(batch))]


def test_a_batch_holds_one_event_at_least_and_has_an_upper_limit() -> None:
    row = Row(b"a", 0, b"", b"", b"")
    assert EventBatch(encode_batch([row] * MAX_BATCH_EVENTS)).count == MAX_BATCH_EVENTS
    for rows in ([], [row] * (MAX_BATCH_EVENTS + 1)):
        with pytest.raises(InvalidArgument, match="1 to 65536 events"):
            encode_batch(rows)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xff\xff\xff\xff")
@example(b"\x01\x00\x00\x00")
def test_hostile_bytes_are_refused_or_fully_readable(raw: bytes) -> None:
    try:
        batch = EventBatch(raw)
    except ProtocolError:
        return
    assert encode_batch(rows_of(batch)) == raw


@given(BATCHES, st.data())
def test_a_damaged_batch_is_refused_or_fully_readable(
    batch: EventBatch, data: st.DataObject
) -> None:
    """No accessor runs past the end, whichever bytes are changed, cut or added."""
    raw = bytearray(batch.blob)
    at = data.draw(st.integers(0, len(raw) - 1))
    match data.draw(st.sampled_from(["change", "cut", "add"])):
        case "change":
            raw[at] = data.draw(st.integers(0, 255))
        case "cut":
            del raw[at:]
        case _:
            raw.insert(at, 0)
    test_hostile_bytes_are_refused_or_fully_readable.hypothesis.inner_test(bytes(raw))  # type: ignore[attr-defined]


def test_a_claim_of_many_events_costs_no_memory() -> None:
    """The count is checked against the bytes that are there before anything is built from it."""
    raw = (MAX_BATCH_EVENTS).to_bytes(4, "little") + bytes(1000)
    tracemalloc.start()
    for claim in (raw, b"\xff" * 1000):
        with pytest.raises(ProtocolError, match="a batch claims"):
            EventBatch(claim)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_lengths_that_overflow_do_not_fit() -> None:
    """Lengths are summed in integers without a limit, so they cannot wrap around to a match."""
    columns = bytearray(encode_batch([Row(b"a", 0, b"", b"", b"")] * 2))
    columns[4 + 16 : 4 + 24] = b"\xff" * 8
    with pytest.raises(ProtocolError, match="lengths add up"):
        EventBatch(bytes(columns))


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (Row(b"", 0, b"", b"", b""), "message_id"),
        (Row(b"x" * 129, 0, b"", b"", b""), "message_id"),
        (Row(b"x", 0, b"x" * (MAX_KEY_BYTES + 1), b"", b""), "key"),
        (Row(b"x", 0, b"", bytes(MAX_META_BYTES + 1), b""), "meta"),
        (Row(b"x", 0, b"", b"", bytes(MAX_PAYLOAD_BYTES + 1)), "payload"),
        (Row(b"x", MAX_TIME_MS + 1, b"", b"", b""), "schedule_ts"),
        (Row(b"x", 0, b"", b"", b"", 0, MAX_TIME_MS + 1), "expires_ts"),
        (Row(b"x", NOW, b"", b"", b"", 0, NOW), "expires_ts"),
        (Row(b"x", 7, b"", b"", b"", 0, 7), "expires_ts 7 is not after schedule_ts 7"),
        (Row(b"x", 0, b"", b"", b"", 4), "flags 0x4"),
    ],
)
def test_a_leader_refuses_what_is_beyond_a_limit(row: Row, what: str) -> None:
    with pytest.raises(InvalidArgument, match=what):
        EventBatch(encode_batch([Row(b"ok", 0, b"", b"", b""), row])).check_limits()


def test_a_leader_accepts_what_is_at_a_limit() -> None:
    widest = Row(b"x" * 128, MAX_TIME_MS, b"k" * MAX_KEY_BYTES, bytes(MAX_META_BYTES), b"")
    largest = Row(b"x", NOW, b"", b"", bytes(MAX_PAYLOAD_BYTES))
    latest = Row(b"x", MAX_TIME_MS - 1, b"", b"", b"", RELATIVE, MAX_TIME_MS)
    EventBatch(encode_batch([widest, largest, latest])).check_limits()


def test_only_a_single_payload_can_be_too_large_not_all_of_them_together() -> None:
    row = Row(b"x", 0, b"", b"", bytes(MAX_PAYLOAD_BYTES // 2 + 1))
    EventBatch(encode_batch([row, row])).check_limits()


BASE = Row(b"id", 5, b"k", b"m", b"p")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (BASE, True),
        (BASE._replace(due_ms=6), False),
        (BASE._replace(due_ms=6, flags=RELATIVE), True),
        (BASE._replace(payload=b"q"), False),
        (BASE._replace(payload=b"q", flags=RELATIVE), False),
        (BASE._replace(key=b"km", meta=b""), False),
        (BASE._replace(key=b"", meta=b"km"), False),
        (BASE._replace(expires_ms=9), False),
        (BASE._replace(expires_ms=9, flags=RELATIVE), False),
    ],
)
def test_two_events_are_one_if_bytes_and_explicit_times_agree(other: Row, *, same: bool) -> None:
    """Also when the bytes only shift between key, headers and payload."""
    left, right = EventBatch(encode_batch([BASE])), EventBatch(encode_batch([other]))
    assert left.same_content(0, right, 0) is same
    assert right.same_content(0, left, 0) is same


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (BASE._replace(expires_ms=9), True),
        (BASE._replace(expires_ms=10), False),
        (BASE._replace(expires_ms=10, due_ms=6, flags=RELATIVE), True),
        (BASE._replace(expires_ms=10, due_ms=NOW), True),
        (BASE._replace(expires_ms=9, payload=b"q"), False),
        (BASE._replace(expires_ms=9, key=b"km", meta=b""), False),
    ],
)
def test_an_explicit_expiry_is_part_of_what_an_event_is(other: Row, *, same: bool) -> None:
    """Like the due time: one that counts from the moment of the call is not."""
    left = EventBatch(encode_batch([BASE._replace(expires_ms=9)]))
    right = EventBatch(encode_batch([other]))
    assert left.same_content(0, right, 0) is same
    assert right.same_content(0, left, 0) is same

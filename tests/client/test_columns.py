from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.client import Event, Seams
from chronosdb.client.columns import FRAME_BYTES, FRAME_EVENTS, Columns, columns_of
from chronosdb.client.ids import IdMaker
from chronosdb.client.meta import encode_meta
from chronosdb.wire import Row, encode_batch, partition_for
from chronosdb.wire.batch import NOW, RELATIVE

EVENTS = st.lists(
    st.builds(
        Event,
        payload=st.binary(max_size=8),
        schedule_ts=st.none() | st.integers(-10, 10),
        message_id=st.text(min_size=1, max_size=4),
        key=st.none() | st.binary(min_size=1, max_size=3),
        meta=st.dictionaries(st.text(max_size=2), st.integers(0, 9), max_size=2),
        relative=st.booleans(),
        expires_ts=st.none() | st.integers(11, 20),
    ),
    min_size=1,
    max_size=12,
)


def columns(events: list[Event]) -> Columns:
    return columns_of(events, IdMaker(Seams()))


def row(event: Event) -> Row:
    assert event.message_id is not None
    relative = event.relative or event.schedule_ts is None
    return Row(
        event.message_id.encode(),
        NOW if event.schedule_ts is None else event.schedule_ts,
        event.key or b"",
        encode_meta(event.meta),
        event.payload,
        RELATIVE if relative else 0,
        event.expires_ts,
    )


@given(EVENTS)
def test_columns_encode_as_single_rows_do(events: list[Event]) -> None:
    assert columns(events).encode(range(len(events))) == encode_batch([row(e) for e in events])


@given(EVENTS, st.integers(1, 5))
def test_every_event_goes_once_to_the_partition_that_the_protocol_names(
    events: list[Event], partitions: int
) -> None:
    made = columns(events)
    groups = made.by_partition(partitions)
    assert sorted(i for group in groups.values() for i in group) == list(range(len(events)))
    for partition, group in groups.items():
        assert group == sorted(group)
        for i in group:
            assert partition == partition_for(events[i].key, made.ids[i], partitions)
        rows = [row(events[i]) for i in group]
        assert made.encode(group) == encode_batch(rows)


def test_frames_are_cut_by_events() -> None:
    made = columns([Event(payload=b"")] * (2 * FRAME_EVENTS + 1))
    pieces = list(made.cut(range(len(made.ids))))
    assert [len(piece) for piece in pieces] == [FRAME_EVENTS, FRAME_EVENTS, 1]


@pytest.mark.parametrize("size", [100_000, FRAME_BYTES // 2, FRAME_BYTES, 2 * FRAME_BYTES])
def test_frames_are_cut_by_bytes_but_hold_one_event_at_least(size: int) -> None:
    made = columns([Event(payload=bytes(size))] * 12)
    pieces = list(made.cut(range(12)))
    assert [i for piece in pieces for i in piece] == list(range(12))
    for piece in pieces:
        assert len(piece) == 1 or len(made.encode(piece)) <= FRAME_BYTES + 4


def test_events_without_an_id_get_ascending_ones_and_others_keep_theirs() -> None:
    made = columns([Event(payload=b""), Event(payload=b"", message_id="mine"), Event(payload=b"")])
    first, mine, last = made.message_ids
    assert (mine, len(first), len(last)) == ("mine", 32, 32)
    assert first < last

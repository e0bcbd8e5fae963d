from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.wire import Event, epoch_ms
from chronosdb.wire.errors import InvalidArgument
from chronosdb.wire.limits import MAX_PAYLOAD_BYTES, MAX_TIME_MS, MIN_TIME_MS


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": "text"},
        {"payload": bytearray(1)},
        {"payload": bytes(MAX_PAYLOAD_BYTES + 1)},
        {"schedule_ts": 1.5},
        {"schedule_ts": True},
        {"schedule_ts": MIN_TIME_MS - 1},
        {"schedule_ts": MAX_TIME_MS + 1},
        {"message_id": ""},
        {"message_id": "é" * 65},
        {"message_id": b"a"},
        {"message_id": "\ud800"},
        {"key": b""},
        {"key": bytes(1025)},
        {"key": "k"},
    ],
)
def test_an_event_beyond_a_limit_cannot_be_made(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Event(**{"payload": b"", **fields})


def test_an_event_at_the_limits_can() -> None:
    Event(
        payload=bytes(MAX_PAYLOAD_BYTES),
        schedule_ts=MAX_TIME_MS,
        message_id="é" * 64,
        key=bytes(1024),
    )
    assert Event(payload=b"", schedule_ts=MIN_TIME_MS).schedule_ts == MIN_TIME_MS


@given(st.datetimes(timezones=st.timezones()))
def test_a_datetime_rounds_up_to_the_millisecond(at: dt.datetime) -> None:
    """So that the event is never early."""
    exact_us = (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    assert 0 <= epoch_ms(at) * 1000 - exact_us < 1000


@pytest.mark.parametrize("at", ["2030-01-01", 1.5, True, None, dt.date(2030, 1, 1)])
def test_a_time_of_another_type_is_a_type_error(at: Any) -> None:
    with pytest.raises(TypeError, match="at="):
        epoch_ms(at)


def test_a_naive_datetime_is_a_type_error_that_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="give it a time zone"):
        epoch_ms(dt.datetime(2030, 1, 1))  # noqa: DTZ001 - the mistake under test


def test_a_time_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="outside"):
        epoch_ms(MAX_TIME_MS + 1)

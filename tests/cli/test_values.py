"""From a shell's text to an event's fields, and back."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.client.cli.output import json_line, printable
from chronosdb.client.cli.values import (
    bytes_fields,
    bytes_text,
    format_time,
    json_meta,
    parse_setting,
    parse_time_ms,
)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T02:00:00.5+02:00", 500),
        ("1970-01-01T00:00:00.0001Z", 1),
        ("1969-12-31T23:59:59Z", -1_000),
        ("1900000000000", 1_900_000_000_000),
        ("-5", -5),
    ],
)
def test_times(text: str, ms: int) -> None:
    """ISO-8601 with a zone, rounded up to whole ms (never early), or epoch ms."""
    assert parse_time_ms(text) == ms


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2030-01-31T08:00:00", "has no time zone"),
        ("2030-01-31", "has no time zone"),
        ("tomorrow", "is no time"),
        ("", "is no time"),
        ("9223372036854775807", "is outside"),
        ("9" * 30, "is no time"),
    ],
)
def test_what_is_not_a_time_is_refused(text: str, says: str) -> None:
    """A time without a zone would be a guess."""
    with pytest.raises(ValueError, match=says):
        parse_time_ms(text)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_read_back(ms: int) -> None:
    """Within the calendar a printed time is the same instant."""
    assert parse_time_ms(format_time(ms)) == ms


def test_times_beyond_the_calendar_are_numbers() -> None:
    """Centuries ahead are allowed, and still can be shown."""
    assert format_time(2**62) == f"{2**62}ms"


def test_bytes_in_json_are_text_or_base64() -> None:
    """The name says which; nothing is lost."""
    assert bytes_fields("payload", "é".encode()) == {"payload": "é"}
    assert bytes_fields("payload", b"\xff\x00") == {"payload_b64": "/wA="}
    assert bytes_fields("key", None) == {"key": None}


def test_every_header_has_json() -> None:
    """Bytes, NaN and infinities have a form that JSON allows."""
    meta = json_meta({"b": b"\xff", "nan": math.nan, "inf": -math.inf, "f": 1.5, "n": None})
    assert json.loads(json_line(meta)) == {
        "b": {"b64": "/w=="},
        "nan": "nan",
        "inf": "-inf",
        "f": 1.5,
        "n": None,
    }


def test_long_payloads_are_cut_for_people() -> None:
    """A line stays a line; the size of the whole is said."""
    assert bytes_text(b"x" * 5000).endswith("x… (5000 bytes)")


@given(st.text())
def test_nothing_published_can_drive_the_terminal(text: str) -> None:
    """Escape sequences, line breaks and bidirectional overrides come out as visible escapes."""
    assert printable(text).isprintable()


def test_escapes_are_readable() -> None:
    """What is shown says which character it was."""
    assert printable("\x1b[2J\n") == "\\x1b[2J\\n"


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("max_attempts=3", ("max_attempts", 3)),
        ("ack_timeout_ms=5m", ("ack_timeout_ms", 300_000)),
        ("ack_timeout_ms=1500", ("ack_timeout_ms", 1500)),
        ("retention_bytes=10MB", ("retention_bytes", 10_000_000)),
        ("retention=7d", ("retention_ms", 604_800_000)),
    ],
)
def test_a_setting_is_a_name_and_a_number_with_or_without_unit(
    text: str, setting: tuple[str, int]
) -> None:
    """The unit follows from the name."""
    assert parse_setting(text) == setting


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("max_attempts", "NAME=VALUE"),
        ("=3", "NAME=VALUE"),
        ("max_attempts=3s", "whole number"),
        ("ack_timeout_ms=5parsecs", "5parsecs"),
    ],
)
def test_what_is_no_setting_is_refused(text: str, why: str) -> None:
    """No name, no value, or a unit that does not fit."""
    with pytest.raises(ValueError, match=why):
        parse_setting(text)

"""One JSON line is one event, or a sentence about what is wrong with it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.client.cli.jsonl import MAX_LINE_BYTES, LineSplitter, parse_line
from chronosdb.wire.event import Event

NOW_MS = 1_900_000_000_000


def parse(**fields: Any) -> Event:
    return parse_line(json.dumps(fields).encode(), lambda: NOW_MS)


def test_a_line_with_everything() -> None:
    """Every field reaches the event."""
    event = parse(payload="é", id="i", key="k", at="2030-01-01T00:00:00Z", meta={"a": 1, "b": None})
    assert event == Event(
        payload="é".encode(),
        schedule_ts=1_893_456_000_000,
        message_id="i",
        key=b"k",
        meta={"a": 1, "b": None},
    )


def test_bytes_are_base64() -> None:
    """What is not text has a field of its own."""
    event = parse(payload_b64="/wA=", key_b64="gA==")
    assert (event.payload, event.key) == (b"\xff\x00", b"\x80")


def test_times() -> None:
    """`at` is ISO or epoch ms, `after` counts from now, neither means now."""
    assert parse(payload="", at=5).schedule_ts == 5
    assert parse(payload="", after="1.5s").schedule_ts == NOW_MS + 1500
    assert parse(payload="").schedule_ts is None


def test_expiries() -> None:
    """`expires_at` is a time like `at`; `expires_after` counts from the due time."""
    assert parse(payload="", at=5, expires_at=6).expires_ts == 6
    assert (
        parse(payload="", at=5, expires_at="2030-01-01T00:00:00Z").expires_ts == 1_893_456_000_000
    )
    assert parse(payload="", at=5, expires_after="2s").expires_ts == 2005
    assert parse(payload="", after="1s", expires_after="2s").expires_ts == NOW_MS + 3000
    assert parse(payload="", expires_after="2s").expires_ts == NOW_MS + 2000
    assert parse(payload="").expires_ts is None


def test_only_a_given_time_is_part_of_the_identity() -> None:
    """Publishing a line again later is the same event unless it names another time."""
    assert not parse(payload="", at=5).relative
    assert parse(payload="", after="1s").relative
    assert parse(payload="").relative


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", 'needs "payload"'),
        (b'{"payload": "", "expires_at": 1, "expires_after": "1s"}', '"expires_at" and "expires_'),
        (b'{"payload": "", "at": 5, "expires_at": 5}', "expires_ts 5 is not after"),
        (b'{"payload": 5}', r"Expected `str \| null`, got `int` - at `\$.payload`"),
        (b'{"payload": "a", "payload_b64": "YQ=="}', 'has both "payload" and "payload_b64"'),
        (b'{"payload_b64": "%%"}', "base64"),
        (b'{"payload": "a", "delay": 5}', "unknown field `delay`"),
        (b'{"payload": "a", "at": 1, "after": "1s"}', 'has both "at" and "after"'),
        (b'{"payload": "a", "at": "2030-01-01"}', "no time zone"),
        (b'{"payload": "a", "at": 1.5}', r"at `\$.at`"),
        (b'{"payload": "a", "after": "5"}', "no unit"),
        (b'{"payload": "a", "id": ""}', "message_id is 0 bytes"),
        (b'{"payload": "a", "key": ""}', "key is 0 bytes"),
        (b'{"payload": "a", "meta": {"k": [1]}}', r"\$.meta"),
        (b'{"payload": "\xff"}', "utf-8|UTF-8"),
        (b'{"payload": "\\ud800"}', "truncated|surrogate"),
        (b"[" * 100_000, "Expected `object`"),
    ],
)
def test_a_bad_line_is_refused_with_the_reason(line: bytes, says: str) -> None:
    """The sentence names the field and what is expected there."""
    with pytest.raises(ValueError, match=says):
        parse_line(line, lambda: NOW_MS)


@given(st.binary(max_size=40))
def test_any_bytes_give_an_event_or_a_reason(line: bytes) -> None:
    """Nothing but ValueError comes out of a line."""
    with suppress(ValueError):
        assert isinstance(parse_line(line, lambda: NOW_MS), Event)


@given(st.lists(st.binary(max_size=8).map(lambda b: b.replace(b"\n", b""))), st.data())
def test_lines_are_the_same_however_the_stream_is_cut(
    lines: list[bytes], data: st.DataObject
) -> None:
    """Numbering and content do not depend on the chunks in which bytes arrive."""
    stream = b"\n".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    splitter = LineSplitter()
    found = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:stop])
    found += splitter.rest()
    expected = lines[:-1] if lines and not lines[-1] else lines
    assert found == list(enumerate(expected, start=1))


def test_a_line_without_end_is_refused() -> None:
    """A stream that is no JSON lines cannot fill the memory."""
    splitter = LineSplitter()
    splitter.feed(b"{}\n" + b"x" * MAX_LINE_BYTES)
    with pytest.raises(ValueError, match="line 2: longer than"):
        splitter.feed(b"x")

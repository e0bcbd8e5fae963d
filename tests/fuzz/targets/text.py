"""What people write: cron expressions, schedules, durations and times, configuration, lines of JSON."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from itertools import islice
from random import Random
from typing import Any

import msgspec

from chronosdb.client.addresses import parse_addresses
from chronosdb.client.cli.jsonl import LineSplitter, parse_line
from chronosdb.client.cli.values import (
    format_time,
    parse_setting,
    parse_start,
    parse_time_ms,
)
from chronosdb.client.columns import columns_of
from chronosdb.client.ids import IdMaker
from chronosdb.client.seams import Seams
from chronosdb.node.configuration.config import load_config, render_config
from chronosdb.node.configuration.settings import ConfigError
from chronosdb.node.recurring.schedule import LEAD_MS, catch_up_of, encode_spec, rule_of
from chronosdb.sched import CorruptStateError, Cursor, PendingSet, RecurrenceError, wanted
from chronosdb.sched.cron import CronPattern
from chronosdb.sched.recurrence import TIME_MAX_MS
from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument
from chronosdb.wire.replay_token import Token, decode_token, encode_token
from chronosdb.wire.units import (
    format_duration,
    format_size,
    parse_duration_ms,
    parse_size_bytes,
)
from tests.fuzz.samples import INTERVAL, SPEC
from tests.fuzz.target import Feature, Target, complaint
from tests.fuzz.targets.wire import mend_message

NOW_MS = 1_900_000_000_000
_NEW_IDS = IdMaker(Seams(now_ms=lambda: NOW_MS, random_bytes=bytes, unit=float))


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _cron(data: bytes) -> Feature:
    """Refused, or five matches: in order, of whole seconds, the same when asked again from the third."""
    try:
        pattern = CronPattern(_text(data))
    except RecurrenceError as error:
        return complaint(error)
    start = _local(2030)
    found = list(islice(pattern.matches(start), 5))
    assert found == sorted(set(found))
    assert all(match >= start and match.microsecond == 0 for match in found)
    if len(found) == 5:
        assert list(islice(pattern.matches(found[2]), 3)) == found[2:]
    list(islice(pattern.matches(_local(9999)), 5))
    return len(found), len(pattern._expression.split())


def _local(year: int) -> dt.datetime:
    return dt.datetime(year, 3, 1)  # noqa: DTZ001


def _schedule(data: bytes) -> Feature:
    """A spec from a client: refused, or its occurrences can be made up and looked ahead to."""
    try:
        spec = msgspec.msgpack.decode(data, type=m.ScheduleSpec)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return complaint(error)
    try:
        rule, catch_up = rule_of(spec.timetable, NOW_MS), catch_up_of(spec)
    except InvalidArgument as error:
        return complaint(error)
    away = NOW_MS + 3_600_000  # the node was not there for an hour
    found = wanted(rule, catch_up, done_ms=NOW_MS, now_ms=away, until_ms=away + LEAD_MS, limit=100)
    assert found.occurrences == sorted(set(found.occurrences))
    assert all(NOW_MS < o <= away + LEAD_MS for o in found.occurrences)
    due = [rule.due_ms("nightly", o) for o in found.occurrences]
    assert all(0 <= d - o <= rule.jitter_ms for d, o in zip(due, found.occurrences, strict=True))
    for far_ms in (-1, NOW_MS, TIME_MAX_MS - 1):
        list(islice(rule.after(far_ms), 3))
    return catch_up if isinstance(catch_up, str) else "ms", min(len(found.occurrences), 3)


def _quantity(data: bytes) -> Feature:
    """Durations, sizes, times, addresses, settings: refused by ValueError, or written back alike."""
    text, features = _text(data), []
    for parse, show in (
        (parse_duration_ms, format_duration),
        (parse_size_bytes, format_size),
        (parse_time_ms, format_time),
        (parse_start, None),
        (parse_setting, None),
        (parse_addresses, None),
    ):
        features.append(_there_and_back(text, parse, show))
    return tuple(features)


def _there_and_back(
    text: str, parse: Callable[[str], Any], show: Callable[[Any], str] | None
) -> Feature:
    try:
        value = parse(text)
    except ValueError as error:
        return complaint(error)
    if show is format_time:
        show(value)  # beyond the calendar it is a number with a unit, for people only
    elif show is not None:
        assert parse(show(value)) == value
    return True


def _config(data: bytes) -> Feature:
    """A node.toml: ConfigError, or a configuration that prints as itself."""
    try:
        config = load_config(["--config", "node.toml"], {}, lambda _: data)
    except ConfigError as error:
        return complaint(error), min(len(error.problems), 3)
    printed = render_config(config).encode()
    assert load_config(["--config", "node.toml"], {}, lambda _: printed) == config
    return "read"


def _jsonl(data: bytes) -> Feature:
    """Lines: however they arrive the same ones; each is refused by ValueError, or can be published."""
    lines = _split(data, len(data) or 1)
    assert lines == _split(data, 3)
    features = [_line(line) for _, line in lines]
    return features[0] if features else None


def _split(data: bytes, step: int) -> list[tuple[int, bytes]]:
    splitter = LineSplitter()
    lines = [
        line for at in range(0, len(data), step) for line in splitter.feed(data[at : at + step])
    ]
    return lines + splitter.rest()


def _line(line: bytes) -> Feature:
    try:
        event = parse_line(line, lambda: NOW_MS)
        columns = columns_of([event], _NEW_IDS)
    except ValueError as error:
        return complaint(error)
    batch = EventBatch(columns.encode([0]))
    batch.check_limits()
    assert batch.payload(0) == event.payload
    return event.schedule_ts is None, bool(event.key), bool(event.meta)


def _token(data: bytes) -> Feature:
    """A token that went through an application's hands: InvalidArgument, or the same token again."""
    try:
        token = decode_token(data)
    except InvalidArgument as error:
        return complaint(error)
    said = encode_token(token)
    assert encode_token(decode_token(said)) == said
    return token.by, token.start is None, token.key is None, min(len(token.places), 2)


def _views(data: bytes) -> Feature:
    """Cursors and pending sets out of a store in doubt: CorruptStateError, or the same bytes again."""
    features: list[Feature] = []
    for decode in (Cursor.from_bytes, PendingSet.from_bytes):
        try:
            view: Cursor | PendingSet = decode(data)
        except CorruptStateError as error:
            features.append(complaint(error))
            continue
        if isinstance(view, Cursor):
            assert view.to_bytes() == data
        features.append(type(view).__name__)
    return tuple(features)


def _mend_line(data: bytes, random: Random) -> bytes:
    """One value of one line becomes another."""
    try:
        fields = json.loads(data.split(b"\n")[0])
        fields[random.choice(list(fields))] = random.choice(_JSON_VALUES)
        return json.dumps(fields).encode() + b"\n" + data[:40]
    except (ValueError, TypeError, IndexError, RecursionError):
        return data


def _view_seeds() -> list[bytes]:
    cursor, pending = Cursor(10), PendingSet()
    cursor.settle(12, 14)
    pending.add_range(3, 70_000)
    return [cursor.to_bytes(), pending.to_bytes()]


_JSON_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 2**63, 1e400, "", "x" * 200, "é\ud800", "2030-01-31T08:00:00Z"),
    *(
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.999999-23:59",
        "30s",
        "1.5h",
        "9" * 19 + "d",
    ),
    *("aGVsbG8=", "not base64", [], {}, {"a": [1]}, {"a": 1, "b": 2**64}),
)
_LINES = (
    b'{"payload":"hello","id":"pay-42","key":"u7","at":"2030-01-31T08:00:00Z","meta":{"k":"v"}}\n',
    b'{"payload_b64":"aGVsbG8=","after":"30s"}\n{"payload":"","at":1900000000000}',
)
_CRONS = (
    *(
        b"30 2 * * MON",
        b"*/5 0-23/2 1,15 JAN-DEC *",
        b"0 0 L * *",
        b"0 12 LW * *",
        b"0 0 * * MON#1",
    ),
    *(b"0 0 * * 5L", b"* * * * * *", b"0 0 29 2 *", b"59 59 23 31 12 7"),
)
_TOKEN = Token(1, "orders", "scheduled", 0, None, b"u7", None, {0: m.ReplayPlace(9, 3, 0)})
_QUANTITIES = (
    *(b"30s", b"1.5h", b"64KiB", b"0", b"2030-01-31T08:00:00+02:00", b"1900000000000"),
    *(b"n1:9000,[::1]:9000", b"retention_ms=7d", b"earliest"),
)
_TOML = b"""
segment_bytes = "512MB"  # a comment
max_attempts = 5
http = "off"
insecure_i_know = true
listen = "[::1]:9000"
"""
_TOML_WORDS = (
    b"[",
    b"]",
    b"{",
    b"}",
    b"a.",
    b"=",
    b"\n",
    b'"',
    b"'''",
    b"0x",
    b"1e9",
    b"true",
    b"ack",
)

TARGETS = (
    Target(
        "cron",
        _cron,
        lambda: _CRONS,
        words=(b"*", b"/", b"-", b",", b"L", b"W", b"#", b" ", b"MON", b"FEB", b"59", b"31", b"29"),
        largest=300,
        memory_factor=1024,
    ),
    Target(
        "schedules",
        _schedule,
        lambda: [
            encode_spec(SPEC),
            encode_spec(m.ScheduleSpec("t", b"", None, b"", INTERVAL, 60_000)),
        ],
        mend_message,
        (b"* * * * * *", b"Europe/Paris", b"all", b"latest", b"none"),
    ),
    Target(
        "quantities", _quantity, lambda: _QUANTITIES, words=(b"ms", b"9" * 19, b".", b"T", b"Z")
    ),
    Target(
        "config",
        _config,
        lambda: [_TOML, b'ack.timeout = "30s"\n', b"[ack]\ntimeout = '30s'\n"],
        words=(*_TOML_WORDS, b"9" * 4400, b"a." * 1200),
        largest=8192,
        memory_factor=512,
    ),
    Target("jsonl", _jsonl, lambda: _LINES, _mend_line, (b'{"', b'":', b"[", b"\\ud800", b"\n")),
    Target("tokens", _token, lambda: [encode_token(_TOKEN)], mend_message),
    Target("views", _views, _view_seeds, words=(b"\1", b"\x80", b"\xff")),
)

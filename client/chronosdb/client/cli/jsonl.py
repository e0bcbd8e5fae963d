"""JSON lines → events: what one line may hold, and where a stream of bytes divides into lines. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from chronosdb.client.cli.values import parse_time_ms
from chronosdb.wire.event import Event, check_time
from chronosdb.wire.limits import MAX_PAYLOAD_BYTES
from chronosdb.wire.units import parse_duration_ms

#: A payload of the largest size, every byte of it written as a six-character escape, fits.
MAX_LINE_BYTES: Final = 8 * MAX_PAYLOAD_BYTES

NumberedLine = tuple[int, bytes]


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line. `*_b64` are for bytes that are not text; a time is ISO-8601 with a zone or epoch ms."""

    payload: str | None = None
    payload_b64: bytes | None = None
    id: str | None = None
    key: str | None = None
    key_b64: bytes | None = None
    at: int | str | None = None
    after: str | None = None
    expires_at: int | str | None = None
    expires_after: str | None = None
    meta: dict[str, str | int | float | bool | None] | None = None


_decode: Final = msgspec.json.Decoder(_Line).decode


def parse_line(line: bytes, now_ms: Callable[[], int]) -> Event:
    """The event that `line` describes; `after` counts from `now_ms()`, an expiry from the due time.

    Raises:
        ValueError: not JSON, not these fields, or a value beyond its limit.
    """
    try:
        fields = _decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None
    schedule_ts = _time(fields.at, fields.after, now_ms, "")
    start_ms = now_ms if schedule_ts is None else lambda: schedule_ts
    payload = _either(fields.payload, fields.payload_b64, "payload")
    if payload is None:
        raise ValueError('needs "payload" (text) or "payload_b64" (base64)')
    return Event(
        payload=payload,
        schedule_ts=schedule_ts,
        message_id=fields.id,
        key=_either(fields.key, fields.key_b64, "key"),
        meta=fields.meta or {},
        relative=fields.at is None,
        expires_ts=_time(fields.expires_at, fields.expires_after, start_ms, "expires_"),
    )


class LineSplitter:
    """Cuts a stream into numbered lines, holding back the last one until its end has come."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._number = 0

    def feed(self, chunk: bytes) -> list[NumberedLine]:
        """The lines that `chunk` completes.

        Raises:
            ValueError: a line is longer than any event can be.
        """
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join((*self._held, whole[0]))
            self._held, self._held_bytes = [], 0
        self._held.append(rest)
        self._held_bytes += len(rest)
        if self._held_bytes > MAX_LINE_BYTES:
            raise ValueError(
                f"line {self._number + len(whole) + 1}: longer than {MAX_LINE_BYTES} bytes;"
                " is this JSON lines, one object on each?"
            )
        return [self._numbered(line) for line in whole]

    def rest(self) -> list[NumberedLine]:
        """The last line, if the stream ended without a line break."""
        line = b"".join(self._held)
        return [self._numbered(line)] if line else []

    def _numbered(self, line: bytes) -> NumberedLine:
        self._number += 1
        return self._number, line


def _either(text: str | None, raw: bytes | None, name: str) -> bytes | None:
    if text is None or raw is None:
        return raw if text is None else text.encode()
    raise ValueError(f'has both "{name}" and "{name}_b64"; keep one')


def _time(
    at: int | str | None, after: str | None, start_ms: Callable[[], int], prefix: str
) -> int | None:
    match at, after:
        case None, None:
            return None
        case None, str():
            return start_ms() + parse_duration_ms(after)
        case int(), None:
            return check_time(at)
        case str(), None:
            return parse_time_ms(at)
        case _:
            raise ValueError(f'has both "{prefix}at" and "{prefix}after"; keep one')

"""Times, payloads, keys and headers between a shell's text and an event's fields."""

from __future__ import annotations

import base64
import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from chronosdb.wire.event import MetaValue, check_time, epoch_ms
from chronosdb.wire.units import parse_duration_ms, parse_size_bytes

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EPOCH_MS: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
#: Beyond this a payload is only announced in a line for people.
_SHOWN_CHARS: Final = 200


def parse_time_ms(text: str) -> int:
    """Epoch ms of an ISO-8601 time with its zone, or of a number that already is epoch ms.

    Raises:
        ValueError: neither of them, without a zone, or out of range.
    """
    if _EPOCH_MS.fullmatch(text):
        return check_time(int(text))
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f'"{text}" is no time; write ISO-8601 with a zone, such as 2030-01-31T08:00:00Z,'
            " or epoch milliseconds"
        ) from None
    if time.tzinfo is None:
        raise ValueError(f'"{text}" has no time zone; end it with Z or an offset such as +02:00')
    return epoch_ms(time)


def format_time(ms: int) -> str:
    """ISO-8601 in UTC with milliseconds; beyond the calendar, the number."""
    try:
        time = _EPOCH + dt.timedelta(milliseconds=ms)
    except OverflowError:
        return f"{ms}ms"
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_age(ms: int) -> str:
    """A duration to look at, such as 850ms, 4.2s, 12m 30s, 3h 20m or 2d 4h."""
    seconds, minutes = ms // 1000, ms // 60_000
    if ms < 1000:
        return f"{ms}ms"
    if seconds < 60:
        return f"{ms // 100 / 10}s"
    if minutes < 60:
        return f"{minutes}m {seconds % 60}s"
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60}m"
    return f"{minutes // (24 * 60)}d {minutes // 60 % 24}h"


def format_bytes(count: int) -> str:
    """A size to look at: 512 B, 1.5 MiB."""
    size, units = float(count), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 1024 and unit != "TiB":
        size, unit = size / 1024, next(units)
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def struct_json(value: Any) -> dict[str, Any]:
    """The fields of a structure of the protocol or of the client, by name."""
    return {name: getattr(value, name) for name in value.__struct_fields__}


def bytes_fields(name: str, value: bytes | None) -> dict[str, str | None]:
    """`{name: text}`, or `{name_b64: base64}` when the bytes are not UTF-8."""
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(value).decode()}


def json_meta(meta: Mapping[str, MetaValue]) -> dict[str, Any]:
    """Headers as JSON can hold them: bytes as base64, NaN and the infinities by name."""
    return {name: _json_value(value) for name, value in meta.items()}


def bytes_text(value: bytes) -> str:
    """Bytes for people: text if that is what they are, cut where a line would get out of hand."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = f"base64:{base64.b64encode(value).decode()}"
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}… ({len(value)} bytes)"


def parse_start(text: str) -> str | int:
    """Where a new group begins: "earliest", "latest", or a time as epoch ms; raises ValueError."""
    return text if text in {"earliest", "latest"} else parse_time_ms(text)


def parse_header(text: str) -> tuple[str, str]:
    """The name and the value in "name=value"; only the first "=" divides.

    Raises:
        ValueError: there is no name or no "=".
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f'"{text}" is not NAME=VALUE')
    return name, value


def parse_setting(text: str) -> tuple[str, int]:
    """A topic setting "name=value"; times may be written "30s", sizes "10GB".

    Raises:
        ValueError: no name, no "=", or a value that is none of this name's kind.
    """
    name, value = parse_header(text)
    if name == "retention":
        name = "retention_ms"
    if re.fullmatch(r"-?[0-9]+", value, re.ASCII):
        return name, int(value)
    if name.endswith("_ms"):
        return name, parse_duration_ms(value)
    if name.endswith("_bytes"):
        return name, parse_size_bytes(value)
    raise ValueError(f'"{value}" is not a whole number')


def parsed_by(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback for an option whose text `parse` turns into a value; its ValueError is wrong usage."""

    def convert(context: click.Context, option: click.Parameter, value: Any) -> Any:
        try:
            match value:
                case str():
                    return parse(value)
                case tuple():
                    return tuple(map(parse, value))
                case _:
                    return value
        except ValueError as error:
            raise click.BadParameter(str(error), context, option) from None

    return convert


def _json_value(value: MetaValue) -> Any:
    match value:
        case bytes():
            return {"b64": base64.b64encode(value).decode()}
        case float() if not math.isfinite(value):
            return str(value)
        case _:
            return value

"""Checks of what callers pass, before anything is sent: a bad argument is an error of this call only."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeGuard

from chronosdb.wire.errors import InvalidArgument
from chronosdb.wire.event import epoch_ms
from chronosdb.wire.limits import (
    MAX_CREDITS,
    MAX_NAME_CHARS,
    MAX_PARTITIONS_PER_TOPIC,
    MAX_REPLICATION,
    MAX_TIME_MS,
    NAME_PATTERN,
)

MODES: Final = ("ordered", "shared")
STARTS: Final = ("earliest", "latest")
#: Whose disks an event is to be on before its publish returns, in the order of their numbers.
ACKS: Final = ("leader", "quorum", "all")
_NAME: Final = re.compile(NAME_PATTERN)


def check_name(what: str, name: object) -> str:
    """`name` as the name of a topic or group.

    Raises:
        InvalidArgument: not such a name.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidArgument(
            f"{what} {_shown(name)} is not a name: 1 to {MAX_NAME_CHARS} letters, digits, '.', '_'"
            " or '-', and not '.' or '..'"
        )
    return name


def check_count(what: str, value: object, low: int, high: int) -> int:
    """`value` as a whole number in low … high.

    Raises:
        InvalidArgument: another type or out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidArgument(f"{what} must be an int in {low} … {high}, not {_shown(value)}")
    return value


def check_partitions(value: object) -> int:
    """`value` as a number of partitions; raises InvalidArgument."""
    return check_count("partitions", value, 1, MAX_PARTITIONS_PER_TOPIC)


def check_credits(value: object) -> int:
    """`value` as a member's credits; raises InvalidArgument."""
    return check_count("credits", value, 1, MAX_CREDITS)


def check_settings(settings: Mapping[str, object], retention: object = None) -> dict[str, int]:
    """Topic settings: every value is an integer; `retention` is in seconds, None to leave it out.

    Raises:
        InvalidArgument: a value is not what it should be.
        TypeError: retention is given twice.
    """
    if retention is not None:
        if "retention_ms" in settings:
            raise TypeError("give retention (seconds) or retention_ms, not both")
        settings = {**settings, "retention_ms": span_ms("retention", retention, MAX_TIME_MS)}
    return {name: check_count(name, value, -(2**63), 2**63 - 1) for name, value in settings.items()}


def check_acks(acks: object) -> int | None:
    """Whose disks an event is to be on, as the protocol says it; None: as the topic says.

    Raises:
        InvalidArgument: no such word.
    """
    if acks is None:
        return None
    if acks not in ACKS:
        raise InvalidArgument(f"acks must be 'leader', 'quorum' or 'all', not {_shown(acks)}")
    return ACKS.index(str(acks))


def check_safety(replication: object, min_insync: object, acks: object) -> dict[str, int]:
    """The settings that say how safe a topic's events are; those that are None are left out.

    Raises:
        InvalidArgument: a value that is not allowed.
    """
    counts = {"replication": replication, "min_insync": min_insync}
    settings = {
        name: check_count(name, value, 1, MAX_REPLICATION)
        for name, value in counts.items()
        if value is not None
    }
    number = check_acks(acks)
    return settings if number is None else {**settings, "acks": number}


def check_mode(mode: object) -> str:
    """How a group shares its deliveries.

    Raises:
        InvalidArgument: neither "ordered" nor "shared".
    """
    if mode not in MODES:
        raise InvalidArgument(f"mode must be 'ordered' or 'shared', not {_shown(mode)}")
    return str(mode)


def check_start(start: object) -> str | int:
    """Where a new group starts, as the protocol says it.

    Raises:
        InvalidArgument: neither a word, nor an aware datetime, nor epoch ms.
        TypeError: a naive datetime.
    """
    if start in STARTS:
        return str(start)
    if isinstance(start, (int, dt.datetime)) and not isinstance(start, bool):
        return epoch_ms(start)
    raise InvalidArgument(
        f"start must be 'earliest', 'latest', an aware datetime or epoch ms, not {_shown(start)}"
    )


def check_text(what: str, value: object, most_chars: int) -> str:
    """`value` as a str of valid Unicode.

    Raises:
        InvalidArgument: it is not, or it is too long.
    """
    if not isinstance(value, str) or len(value) > most_chars:
        raise InvalidArgument(f"{what} must be a str of at most {most_chars} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} is not valid Unicode: {error}") from None
    return value


def check_timeout(timeout: object) -> float:
    """A deadline in seconds.

    Raises:
        InvalidArgument: not a positive, finite number.
    """
    if not _is_number(timeout) or not (0 < timeout < math.inf):
        raise InvalidArgument(f"timeout must be seconds above 0, not {_shown(timeout)}")
    return float(timeout)


def check_rate(rate: object) -> float:
    """A number of events a second.

    Raises:
        InvalidArgument: not a positive, finite number.
    """
    if not _is_number(rate) or not (0 < rate < math.inf):
        raise InvalidArgument(f"rate must be events a second above 0, not {_shown(rate)}")
    return float(rate)


def span_ms(what: str, seconds: object, limit_ms: int) -> int:
    """`seconds` as whole milliseconds, rounded up.

    Raises:
        TypeError: not a number.
        InvalidArgument: negative, not finite, or more than `limit_ms`.
    """
    if not _is_number(seconds):
        raise TypeError(f"{what} must be seconds (int or float), not {type(seconds).__name__}")
    if not 0 <= seconds <= limit_ms / 1000:  # also refuses NaN
        raise InvalidArgument(f"{what} must be 0 to {limit_ms // 1000} seconds, not {seconds}")
    return math.ceil(seconds * 1000)


def due_time(
    at: dt.datetime | int | None, after: float | None, now_ms: Callable[[], int]
) -> tuple[int | None, bool]:
    """When an event is due, and whether that depends on the moment of the call.

    Raises:
        TypeError: both are given, a naive datetime, or another type.
        InvalidArgument: out of range.
    """
    if at is not None and after is not None:
        raise TypeError("give at= or after=, not both")
    if at is not None:
        return epoch_ms(at), False
    if after is None:
        return None, True
    return now_ms() + span_ms("after", after, MAX_TIME_MS), True


def expiry_time(
    expires_at: dt.datetime | int | None,
    expires_after: float | None,
    due_ms: int | None,
    now_ms: Callable[[], int],
) -> int | None:
    """When an event that is due at `due_ms` (None: now) expires; None: never.

    Raises:
        TypeError: both are given, a naive datetime, or another type.
        InvalidArgument: out of range.
    """
    if expires_at is not None and expires_after is not None:
        raise TypeError("give expires_at= or expires_after=, not both")
    if expires_at is not None:
        return epoch_ms(expires_at)
    if expires_after is None:
        return None
    start_ms = now_ms() if due_ms is None else due_ms
    return start_ms + span_ms("expires_after", expires_after, MAX_TIME_MS)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"

"""An event as a publisher states it: payload, due time, id, key, headers; checked when made."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from chronosdb.wire.errors import InvalidArgument
from chronosdb.wire.limits import (
    MAX_KEY_BYTES,
    MAX_MESSAGE_ID_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_TIME_MS,
    MIN_TIME_MS,
)

MetaValue: TypeAlias = str | bytes | int | float | bool | None
Meta: TypeAlias = Mapping[str, MetaValue]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)


# A msgspec struct, because a publisher makes one per event: a frozen dataclass takes ten times as long.
# The collector of cycles need not look at it: what it holds has no way back to it.
class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event to publish.

    `schedule_ts` is epoch milliseconds (None: due as soon as it is stored). Without a `message_id`
    the client makes one before the first send. From `expires_ts` on, epoch milliseconds, the event is
    not delivered any more. `relative` marks times that were computed from the moment of the call
    (`after=`): publishing the same id again at another moment is then the same event, not a conflict.

    Raises:
        InvalidArgument: a field is of the wrong type or beyond its limit, or the event expires
            before it is due.
    """

    payload: bytes
    schedule_ts: int | None = None
    message_id: str | None = None
    key: bytes | None = None
    meta: Meta = msgspec.field(default_factory=dict)
    relative: bool = False
    expires_ts: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.payload, bytes):
            raise InvalidArgument(f"payload must be bytes, not {type(self.payload).__name__}")
        if len(self.payload) > MAX_PAYLOAD_BYTES:
            raise InvalidArgument(
                f"payload is {len(self.payload)} bytes; at most {MAX_PAYLOAD_BYTES} are allowed"
            )
        # The usual time and id are seen to be right without a call each.
        due = self.schedule_ts
        if due is not None and not (type(due) is int and 0 <= due <= MAX_TIME_MS):
            check_time(due)
        name = self.message_id
        if name is not None and not (
            type(name) is str and name.isascii() and 0 < len(name) <= MAX_MESSAGE_ID_BYTES
        ):
            check_message_id(name)
        if self.key is not None:
            check_key(self.key)
        if self.expires_ts is not None:
            check_expiry(self.expires_ts, self.schedule_ts)

    def named(self, message_id: str) -> Event:
        """This event under that id; raises InvalidArgument when it is none."""
        return msgspec.structs.replace(self, message_id=message_id)


def check_time(value: object) -> int:
    """`value` as epoch milliseconds.

    Raises:
        InvalidArgument: not an int, or outside the range of times.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidArgument(f"a time must be an int (epoch ms), not {type(value).__name__}")
    if not MIN_TIME_MS <= value <= MAX_TIME_MS:
        raise InvalidArgument(f"time {value} is outside {MIN_TIME_MS} … {MAX_TIME_MS} ms")
    return value


def check_expiry(expires_ts: object, schedule_ts: int | None) -> int:
    """`expires_ts` as the time from which an event that is due at `schedule_ts` is not delivered.

    Raises:
        InvalidArgument: no time, or one that leaves no moment to deliver the event in.
    """
    try:
        checked = check_time(expires_ts)
    except InvalidArgument as error:
        raise InvalidArgument(f"expires_ts: {error}") from None
    if schedule_ts is not None and checked <= schedule_ts:
        raise InvalidArgument(
            f"expires_ts {checked} is not after schedule_ts {schedule_ts}: the event would never be"
            " delivered; let it expire later, or be due earlier"
        )
    return checked


def check_message_id(message_id: object) -> bytes:
    """The id's bytes.

    Raises:
        InvalidArgument: not a str, empty, or over 128 bytes of UTF-8.
    """
    if not isinstance(message_id, str):
        raise InvalidArgument(f"message_id must be a str, not {type(message_id).__name__}")
    try:
        raw = message_id.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"message_id is not valid Unicode: {error}") from None
    if not 1 <= len(raw) <= MAX_MESSAGE_ID_BYTES:
        raise InvalidArgument(
            f"message_id is {len(raw)} bytes; 1 to {MAX_MESSAGE_ID_BYTES} are allowed"
        )
    return raw


def check_key(key: object) -> bytes:
    """The key, checked.

    Raises:
        InvalidArgument: not bytes, empty (use None for no key), or too long.
    """
    if not isinstance(key, bytes):
        raise InvalidArgument(f"key must be bytes, not {type(key).__name__}")
    if not 1 <= len(key) <= MAX_KEY_BYTES:
        raise InvalidArgument(
            f"key is {len(key)} bytes; 1 to {MAX_KEY_BYTES} are allowed (no key: None)"
        )
    return key


def epoch_ms(at: dt.datetime | int) -> int:
    """An aware datetime or epoch milliseconds, as epoch milliseconds (fractions round up: never early).

    Raises:
        TypeError: a naive datetime (its time zone would be a guess) or another type.
        InvalidArgument: outside the range of times.
    """
    if isinstance(at, dt.datetime):
        if at.tzinfo is None or at.utcoffset() is None:
            raise TypeError(
                "at= is a naive datetime; give it a time zone, e.g. datetime.now(timezone.utc)"
            )
        return -((_EPOCH - at) // _MILLISECOND)
    if not isinstance(at, int) or isinstance(at, bool):
        raise TypeError(f"at= must be an aware datetime or epoch ms, not {type(at).__name__}")
    return check_time(at)

"""An event as `publish` states it: its times from the words that a caller has for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from chronosdb.client.arguments import due_time, expiry_time
from chronosdb.wire import Event
from chronosdb.wire.event import Meta


def new_event(
    payload: bytes,
    *,
    message_id: str | None,
    key: bytes | None,
    meta: Meta | None,
    at: dt.datetime | int | None,
    after: float | None,
    expires_at: dt.datetime | int | None,
    expires_after: float | None,
    now_ms: Callable[[], int],
) -> Event:
    """The event; relative times count from `now_ms()`, an expiry from the due time.

    Raises:
        TypeError: both of two words for one time, or a naive datetime.
        InvalidArgument: a value beyond its limit.
    """
    schedule_ts, relative = due_time(at, after, now_ms)
    return Event(
        payload=payload,
        schedule_ts=schedule_ts,
        message_id=message_id,
        key=key,
        meta=meta or {},
        relative=relative,
        expires_ts=expiry_time(expires_at, expires_after, schedule_ts, now_ms),
    )

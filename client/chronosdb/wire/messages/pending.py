"""Pending events as rows: list, count, cancel, reschedule.

Times are half-open, [start_ms, end_ms). Rows come in (schedule_ts, offset) order; `after` is the last
row of the page before, and the next page begins behind it.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from chronosdb.wire.limits import MAX_MESSAGE_ID_BYTES, MAX_PAGE_ROWS
from chronosdb.wire.messages.base import (
    Answer,
    Count,
    Key,
    Message,
    Millis,
    Name,
    PartitionId,
    RequestId,
)

#: (schedule_ts, offset).
Place: TypeAlias = tuple[Millis, Count]
PageRows: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_PAGE_ROWS)]


class ListPending(Message, frozen=True, array_like=True, tag=24):
    """Ask for pending events of one partition."""

    request: RequestId
    topic: Name
    partition: PartitionId
    start_ms: Millis
    end_ms: Millis
    key: Key | None
    after: Place | None
    limit: PageRows


class PendingPage(Answer, frozen=True, array_like=True, tag=25):
    """Some rows; `next` is the `after` of the next page, None when there is none.

    Columns: `offsets` and `published` i64; `batch` holds the events, empty when there is no row.
    """

    offsets: memoryview
    published: memoryview
    batch: memoryview
    next: Place | None


class CountPending(Message, frozen=True, array_like=True, tag=26):
    """Ask how many pending events one partition has in a range."""

    request: RequestId
    topic: Name
    partition: PartitionId
    start_ms: Millis
    end_ms: Millis
    key: Key | None


class Counted(Answer, frozen=True, array_like=True, tag=27):
    """How many."""

    count: Count


class Change(Message, frozen=True, array_like=True, tag=28):
    """Cancel an event (`due_ms` None), or let it be due at another time (the smallest i64: now)."""

    request: RequestId
    topic: Name
    partition: PartitionId
    message_id: Annotated[bytes, Meta(min_length=1, max_length=MAX_MESSAGE_ID_BYTES)]
    due_ms: Millis | None


class Changed(Answer, frozen=True, array_like=True, tag=29):
    """How it ended: "cancelled", "rescheduled", "already_fired" or "not_found".

    The answer is on disk. A change that lost the race against firing is an answer, not an error.
    """

    outcome: str


class CancelWhere(Message, frozen=True, array_like=True, tag=37):
    """Cancel the pending events of one page (or, with `dry_run`, only count them)."""

    request: RequestId
    topic: Name
    partition: PartitionId
    start_ms: Millis
    end_ms: Millis
    key: Key | None
    after: Place | None
    limit: PageRows
    dry_run: bool


class CancelledWhere(Answer, frozen=True, array_like=True, tag=38):
    """How many were cancelled; `next` is the `after` of the next page, None when there is none."""

    count: Count
    next: Place | None

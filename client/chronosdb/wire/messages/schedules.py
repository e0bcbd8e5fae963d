"""Recurring schedules: put, get, list, pause, resume, delete, preview.

A `Timetable` says when, a `ScheduleSpec` also what is published then. A node keeps the bytes of the spec
as they are here: fields may be added at the end, with defaults, and never changed.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from chronosdb.wire.limits import (
    MAX_CRON_CHARS,
    MAX_PREVIEW,
    MAX_SCHEDULE_META_BYTES,
    MAX_SCHEDULE_NAME_CHARS,
    MAX_SCHEDULE_PAYLOAD_BYTES,
    NAME_PATTERN,
)
from chronosdb.wire.messages.base import Answer, Count, Key, Message, Millis, Name, RequestId

ScheduleName: TypeAlias = Annotated[
    str, Meta(pattern=NAME_PATTERN, max_length=MAX_SCHEDULE_NAME_CHARS)
]
Word: TypeAlias = Annotated[str, Meta(max_length=64)]


class Timetable(Struct, frozen=True, array_like=True):
    """When a schedule recurs: `cron` in the zone `tz`, or every `every_ms`; the other one is None.

    `gap` is "skip" or "shift"; `fold` "first", "last" or "both". In [start_ms, end_ms), None: from the
    time it is put, and for ever.
    """

    cron: Annotated[str, Meta(max_length=MAX_CRON_CHARS)] | None
    every_ms: Count | None
    tz: Word
    gap: Word
    fold: Word
    start_ms: Millis | None
    end_ms: Millis | None
    #: Each event is later than its occurrence by up to this.
    jitter_ms: Count


class ScheduleSpec(Struct, frozen=True, array_like=True):
    """A schedule as its owner states it. `meta` is a msgpack map, empty for no headers."""

    topic: Name
    payload: Annotated[bytes, Meta(max_length=MAX_SCHEDULE_PAYLOAD_BYTES)]
    key: Key | None
    meta: Annotated[bytes, Meta(max_length=MAX_SCHEDULE_META_BYTES)]
    timetable: Timetable
    #: "all", "latest", "none", or ms: which missed occurrences are made up.
    catch_up: Word | Count


class Schedule(Struct, frozen=True, array_like=True):
    """A schedule as the node has it.

    An event's id is "name/generation/occurrence". `next_ms` is the next occurrence from now; None: it
    is paused, or there is none.
    """

    name: ScheduleName
    spec: ScheduleSpec
    paused: bool
    generation: Count
    put_ms: Count
    next_ms: Millis | None


class PutSchedule(Message, frozen=True, array_like=True, tag=60):
    """Create a schedule, or replace one that differs."""

    request: RequestId
    name: ScheduleName
    spec: ScheduleSpec
    paused: bool


class ScheduleReply(Answer, frozen=True, array_like=True, tag=61):
    """One schedule; `created` says whether this request made it."""

    schedule: Schedule
    created: bool = False


class GetSchedule(Message, frozen=True, array_like=True, tag=62):
    """Ask for one schedule."""

    request: RequestId
    name: ScheduleName


class ListSchedules(Message, frozen=True, array_like=True, tag=63):
    """Ask for schedules by name, behind `after` (empty: from the first)."""

    request: RequestId
    after: Annotated[str, Meta(max_length=MAX_SCHEDULE_NAME_CHARS)]


class SchedulesPage(Answer, frozen=True, array_like=True, tag=64):
    """Some schedules, by name; `more` says whether others follow the last."""

    schedules: list[Schedule]
    more: bool


class PauseSchedule(Message, frozen=True, array_like=True, tag=65):
    """Stop a schedule for now (`paused`), or let it go on."""

    request: RequestId
    name: ScheduleName
    paused: bool


class DeleteSchedule(Message, frozen=True, array_like=True, tag=66):
    """Remove a schedule; what it had made and has not fired is cancelled. The reply is Done."""

    request: RequestId
    name: ScheduleName


class PreviewSchedule(Message, frozen=True, array_like=True, tag=67):
    """Ask when a schedule will recur: one that exists, or a timetable that need not."""

    request: RequestId
    what: ScheduleName | Timetable
    #: None: now.
    after_ms: Millis | None
    count: Annotated[int, Meta(ge=1, le=MAX_PREVIEW)]


class Preview(Answer, frozen=True, array_like=True, tag=68):
    """The occurrences, in order; fewer than asked for if there are no more."""

    occurrences: list[Millis]

"""From what a client asks to where its stream begins, where it is cut, and the course between."""

from __future__ import annotations

from typing import Final

from chronosdb.node.partition.history import History
from chronosdb.node.replay.courses import UNBOUNDED, Course, FireCourse, PublishCourse, Span
from chronosdb.node.replay.schedule import ScheduleCourse
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument, NotFound
from chronosdb.wire.limits import MIN_TIME_MS
from chronosdb.wire.messages.replay import NO_CUT

#: Before any offset.
_NO_OFFSET: Final = -1


def first_place(history: History, wanted: m.Replay) -> m.ReplayPlace:
    """Where the stream begins and is cut.

    Raises:
        NotFound: that is before the oldest event that is still stored.
        InvalidArgument: it would have to follow in order of due time.
    """
    if wanted.follow and wanted.by == "scheduled":
        raise InvalidArgument(
            "a replay by scheduled cannot follow: an event may be published that is due before the"
            " last one sent; follow by published or fired"
        )
    until = _cut(history, wanted)
    if wanted.place is not None:
        place = m.ReplayPlace(until, wanted.place.at, wanted.place.offset)
    elif wanted.by == "scheduled":
        start_ms = MIN_TIME_MS if wanted.start is None else wanted.start
        place = m.ReplayPlace(until, start_ms, _NO_OFFSET)
    else:
        place = m.ReplayPlace(until, _first(history, wanted), 0)
    if wanted.by != "scheduled" and place.at < _oldest(history, wanted):
        raise is_gone(history, f"partition {wanted.partition} of topic {wanted.topic!r}")
    return place


def course_from(history: History, wanted: m.Replay, place: m.ReplayPlace) -> Course:
    """The events from `place` on."""
    span = Span(
        MIN_TIME_MS if wanted.start is None else wanted.start,
        UNBOUNDED if wanted.end is None else wanted.end,
    )
    if wanted.by == "scheduled":
        return ScheduleCourse(history, place.until, span, after=(place.at, place.offset))
    stop = UNBOUNDED if place.until == NO_CUT else place.until
    if wanted.by == "offset":
        stop, span = min(stop, span.end_ms), Span(MIN_TIME_MS, UNBOUNDED)
    course = FireCourse if wanted.by == "fired" else PublishCourse
    return course(history, place.at, stop, span, follows=wanted.follow)


def is_gone(history: History, name: str) -> NotFound:
    """The error for a place before the oldest."""
    oldest = history.oldest()
    return NotFound(
        f"{name} is stored from offset {oldest.offset} and position {oldest.position} on; what was"
        " before has been deleted: begin there, or without a start",
        details={"offset": oldest.offset, "position": oldest.position, "ts_ms": oldest.ts_ms},
    )


def _cut(history: History, wanted: m.Replay) -> int:
    if wanted.follow:
        return NO_CUT
    committed = _committed(history, wanted)
    if wanted.place is None or wanted.place.until == NO_CUT:
        return committed
    return min(committed, wanted.place.until)


def _committed(history: History, wanted: m.Replay) -> int:
    match wanted.by:
        case "scheduled":
            return history.end_lsn
        case "fired":
            return history.end_position
        case _:
            return history.end_offset


def _oldest(history: History, wanted: m.Replay) -> int:
    oldest = history.oldest()
    return oldest.position if wanted.by == "fired" else oldest.offset


def _first(history: History, wanted: m.Replay) -> int:
    """The first offset or position that is asked for; the committed end where nothing is."""
    if wanted.start is not None and wanted.by == "offset":
        return max(0, wanted.start)
    oldest, committed = _oldest(history, wanted), _committed(history, wanted)
    if wanted.start is None:
        return oldest
    record = history.since(wanted.start)
    if record is None:
        return committed
    # The record may be of a group that is still being written.
    return max(oldest, min(committed, record.position if wanted.by == "fired" else record.offset))

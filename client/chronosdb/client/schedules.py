"""Recurring schedules: events that are published again and again, by cron or at an interval."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from chronosdb.client.arguments import check_count, check_name, check_text, span_ms
from chronosdb.client.cluster import Cluster
from chronosdb.client.meta import decode_meta, encode_meta
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument
from chronosdb.wire.event import Meta, MetaValue, check_key, epoch_ms
from chronosdb.wire.limits import (
    MAX_CRON_CHARS,
    MAX_PREVIEW,
    MAX_SCHEDULE_META_BYTES,
    MAX_SCHEDULE_NAME_CHARS,
    MAX_SCHEDULE_PAYLOAD_BYTES,
)

R = TypeVar("R", bound=m.Message)

#: The node judges what makes sense; this only keeps numbers within the protocol.
_SPAN_MAX_MS: Final = 2**62
_CATCH_UPS: Final = ("all", "latest", "none")

Time = dt.datetime | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as the node has it. Spans are seconds, `…_ts` are epoch ms.

    Its events have the id "name/generation/occurrence", the occurrence in epoch ms; the generation
    changes with every change of the schedule.
    """

    name: str
    topic: str
    payload: bytes
    key: bytes | None
    meta: dict[str, MetaValue]
    #: One of `cron` and `every` is None.
    cron: str | None
    every: float | None
    tz: str
    gap: str
    fold: str
    catch_up: str | float
    jitter: float
    start_ts: int | None
    end_ts: int | None
    paused: bool
    generation: int
    put_ts: int
    #: The next occurrence, jitter not counted; None: it is paused, or there is none.
    next_ts: int | None


class Schedules:
    """The schedules of a node, by name."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def put(
        self,
        name: str,
        topic: str,
        payload: bytes,
        *,
        cron: str | None = None,
        every: float | None = None,
        tz: str = "UTC",
        key: bytes | None = None,
        meta: Meta | None = None,
        gap: str = "skip",
        fold: str = "first",
        catch_up: str | float = "all",
        jitter: float = 0.0,
        start: Time | None = None,
        end: Time | None = None,
        paused: bool = False,
    ) -> Schedule:
        """Publish `payload` to `topic` again and again.

        By `cron` in the zone `tz`, or `every` so many seconds, beginning at `start` (without it: one
        interval from now). Replaces what has that name; an equal schedule goes on as it is.

        `cron` has five fields (minute hour day month weekday), or six, with seconds in front. When
        clocks go forward, `gap` "skip" leaves out a time that no clock shows, "shift" has it later by
        the length of the gap; when they go back, `fold` says which of two times of the same name is
        meant: "first", "last" or "both". After a downtime `catch_up` says which of the missed
        occurrences are made up: "all", the "latest", "none", or those not older than so many seconds.
        Each event is delayed by up to `jitter` seconds, always the same for the same occurrence.
        Nothing occurs before the schedule was put, before `start`, or at `end` or after it.

        Raises:
            TypeError: a naive datetime.
            InvalidArgument: this makes no schedule, or one that never occurs.
            NotFound: no such topic.
            Overloaded: there are too many schedules.
        """
        check_name("topic", topic)
        if not isinstance(payload, bytes) or len(payload) > MAX_SCHEDULE_PAYLOAD_BYTES:
            raise InvalidArgument(
                f"a schedule's payload must be bytes, at most {MAX_SCHEDULE_PAYLOAD_BYTES} of them"
            )
        when = _timetable(cron, every, tz, gap, fold, start=start, end=end, jitter=jitter)
        checked_key = None if key is None else check_key(key)
        raw_meta = encode_meta(meta or {})
        if len(raw_meta) > MAX_SCHEDULE_META_BYTES:
            raise InvalidArgument(
                f"a schedule's meta is {len(raw_meta)} bytes; at most {MAX_SCHEDULE_META_BYTES}"
                " are allowed"
            )
        spec = m.ScheduleSpec(topic, payload, checked_key, raw_meta, when, _catch_up(catch_up))
        checked = _check_schedule(name)
        return await self._schedule(
            lambda request: m.PutSchedule(request, checked, spec, bool(paused))
        )

    async def get(self, name: str) -> Schedule:
        """One schedule.

        Raises:
            NotFound: there is none of that name.
        """
        checked = _check_schedule(name)
        return await self._schedule(lambda request: m.GetSchedule(request, checked))

    async def list(self) -> AsyncIterator[Schedule]:
        """All schedules by name, read in pages."""
        after, more = "", True
        while more:
            page = await self._cluster.call(_list(after), m.SchedulesPage)
            for schedule in page.schedules:
                yield _schedule(schedule)
                after = schedule.name
            more = page.more

    async def pause(self, name: str) -> Schedule:
        """Let nothing more fire until it is resumed; when this returns, nothing does.

        Raises:
            NotFound: there is none of that name.
        """
        checked = _check_schedule(name)
        return await self._schedule(lambda request: m.PauseSchedule(request, checked, paused=True))

    async def resume(self, name: str) -> Schedule:
        """Let a paused schedule go on from now; what would have been meanwhile is not made up.

        Raises:
            NotFound: there is none of that name.
        """
        checked = _check_schedule(name)
        return await self._schedule(lambda request: m.PauseSchedule(request, checked, paused=False))

    async def delete(self, name: str) -> None:
        """Remove a schedule; when this returns, nothing more of it fires.

        Raises:
            NotFound: there is none of that name.
        """
        checked = _check_schedule(name)
        await self._cluster.call(lambda request: m.DeleteSchedule(request, checked), m.Done)

    async def preview(
        self,
        name: str | None = None,
        *,
        cron: str | None = None,
        every: float | None = None,
        tz: str = "UTC",
        gap: str = "skip",
        fold: str = "first",
        start: Time | None = None,
        end: Time | None = None,
        after: Time | None = None,
        count: int = 10,
    ) -> Sequence[int]:
        """The next `count` occurrences behind `after` (None: now), in epoch ms, without jitter.

        Of the schedule `name`, or of one that would be put now with these arguments.

        Raises:
            TypeError: a name and a rule, or neither; a naive datetime.
            InvalidArgument: the rule makes no schedule.
            NotFound: there is no schedule of that name.
        """
        if (name is not None) == (cron is not None or every is not None):
            raise TypeError("give the name of a schedule, or cron= or every=, not both")
        what: str | m.Timetable
        if name is None:
            what = _timetable(cron, every, tz, gap, fold, start=start, end=end, jitter=0)
        else:
            what = _check_schedule(name)
        after_ms = None if after is None else epoch_ms(after)
        wanted = check_count("count", count, 1, MAX_PREVIEW)
        reply = await self._cluster.call(
            lambda request: m.PreviewSchedule(request, what, after_ms, wanted), m.Preview
        )
        return reply.occurrences

    async def _schedule(self, ask: Callable[[int], m.Message]) -> Schedule:
        return _schedule((await self._cluster.call(ask, m.ScheduleReply)).schedule)


def _timetable(
    cron: str | None,
    every: float | None,
    tz: str,
    gap: str,
    fold: str,
    *,
    start: Time | None,
    end: Time | None,
    jitter: float,
) -> m.Timetable:
    return m.Timetable(
        cron=None if cron is None else check_text("cron", cron, MAX_CRON_CHARS),
        every_ms=None if every is None else span_ms("every", every, _SPAN_MAX_MS),
        tz=check_text("tz", tz, 64),
        gap=check_text("gap", gap, 64),
        fold=check_text("fold", fold, 64),
        start_ms=None if start is None else epoch_ms(start),
        end_ms=None if end is None else epoch_ms(end),
        jitter_ms=span_ms("jitter", jitter, _SPAN_MAX_MS),
    )


def _catch_up(value: str | float) -> str | int:
    if isinstance(value, str):
        if value not in _CATCH_UPS:
            raise InvalidArgument(
                f"catch_up must be one of {', '.join(_CATCH_UPS)}, or seconds, not {value[:64]!r}"
            )
        return value
    return span_ms("catch_up", value, _SPAN_MAX_MS)


def _check_schedule(name: str) -> str:
    check_name("schedule", name)
    if len(name) > MAX_SCHEDULE_NAME_CHARS:
        raise InvalidArgument(
            f"a schedule's name has at most {MAX_SCHEDULE_NAME_CHARS} characters, not {len(name)}"
        )
    return name


def _list(after: str) -> Callable[[int], m.Message]:
    return lambda request: m.ListSchedules(request, after)


def _schedule(found: m.Schedule) -> Schedule:
    spec, when = found.spec, found.spec.timetable
    catch_up = spec.catch_up
    return Schedule(
        name=found.name,
        topic=spec.topic,
        payload=spec.payload,
        key=spec.key,
        meta=decode_meta(spec.meta),
        cron=when.cron,
        every=None if when.every_ms is None else when.every_ms / 1000,
        tz=when.tz,
        gap=when.gap,
        fold=when.fold,
        catch_up=catch_up if isinstance(catch_up, str) else catch_up / 1000,
        jitter=when.jitter_ms / 1000,
        start_ts=when.start_ms,
        end_ts=when.end_ms,
        paused=found.paused,
        generation=found.generation,
        put_ts=found.put_ms,
        next_ts=found.next_ms,
    )

"""Recurring schedules as replicated state: which there are, and how far each has got.

What a schedule says, when it recurs and what it publishes, is opaque here. A *generation* is the log
index of the command that made the schedule what it is: never reused, so that nothing which was made
for an earlier generation can be taken for a later one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, assert_never

from chronosdb.raft import limits
from chronosdb.raft.commands import (
    AdvanceSchedules,
    DeleteSchedule,
    PauseSchedule,
    PutSchedule,
    ResumeSchedule,
    ScheduleCommand,
)
from chronosdb.raft.names import name_problem, quoted
from chronosdb.raft.result import Result, Status
from chronosdb.raft.view import ScheduleInfo


class Schedules:
    """All schedules by name."""

    def __init__(self) -> None:
        self._schedules: dict[str, ScheduleInfo] = {}
        #: Invariant: the sum of all definitions' lengths.
        self._nbytes = 0
        #: Derived from `_schedules`; None when it has to be built again.
        self._view: Mapping[str, ScheduleInfo] | None = None

    @property
    def view(self) -> Mapping[str, ScheduleInfo]:
        """An immutable copy, and the same one until something changes."""
        if self._view is None:
            self._view = MappingProxyType(dict(self._schedules))
        return self._view

    def apply(self, command: ScheduleCommand, index: int) -> Result:
        """Apply one command, which is at log position `index`."""
        match command:
            case PutSchedule():
                return self._put(command, index)
            case PauseSchedule():
                return self._pause(command)
            case ResumeSchedule():
                return self._resume(command, index)
            case DeleteSchedule():
                return self._delete(command)
            case AdvanceSchedules():
                return self._advance(command)
        assert_never(command)

    def delete_of_topic(self, topic: str) -> None:
        """Forget those that publish to `topic`, which is no more."""
        for name in [s.name for s in self._schedules.values() if s.topic == topic]:
            self._delete(DeleteSchedule(name))

    def _put(self, c: PutSchedule, index: int) -> Result:
        problem = _problem(c)
        if problem:
            return Result(Status.INVALID, problem)
        known = self._schedules.get(c.name)
        if known and known.says(c.topic, c.definition, paused=c.paused):
            return Result(Status.OK, id=known.generation)
        if known is None and len(self._schedules) >= limits.SCHEDULES_MAX:
            return _limit(f"{limits.SCHEDULES_MAX:,} schedules")
        grown = self._nbytes + len(c.definition) - (len(known.definition) if known else 0)
        if grown > limits.SCHEDULE_BYTES_TOTAL_MAX:
            return _limit(f"{limits.SCHEDULE_BYTES_TOTAL_MAX:,} bytes of schedules")
        self._nbytes = grown
        self._keep(ScheduleInfo(c.name, c.topic, c.definition, c.paused, index, c.now_ms, c.now_ms))
        return Result(Status.OK, created=known is None, id=index)

    def _pause(self, c: PauseSchedule) -> Result:
        known = self._schedules.get(c.name)
        if known is None:
            return _missing(c.name)
        if not known.paused:
            self._keep(replace(known, paused=True))
        return Result(Status.OK, id=known.generation)

    def _resume(self, c: ResumeSchedule, index: int) -> Result:
        known = self._schedules.get(c.name)
        if known is None:
            return _missing(c.name)
        if not known.paused:
            return Result(Status.OK, id=known.generation)
        self._keep(replace(known, paused=False, generation=index, done_ms=c.now_ms))
        return Result(Status.OK, id=index)

    def _delete(self, c: DeleteSchedule) -> Result:
        known = self._schedules.pop(c.name, None)
        if known is None:
            return _missing(c.name)
        self._nbytes -= len(known.definition)
        self._view = None
        return Result(Status.OK, id=known.generation)

    def _advance(self, c: AdvanceSchedules) -> Result:
        for mark, done_ms in c.marks.items():
            name, _, generation = mark.rpartition("/")
            known = self._schedules.get(name)
            # A mark for another generation, or one from before, is late and says nothing.
            if known and str(known.generation) == generation and done_ms > known.done_ms:
                self._keep(replace(known, done_ms=done_ms))
        return Result(Status.OK)

    def _keep(self, schedule: ScheduleInfo) -> None:
        self._schedules[schedule.name] = schedule
        self._view = None

    def to_plain(self) -> list[Any]:
        """As msgpack can carry it; laid out in FORMAT.md."""
        return [
            [s.name, s.topic, s.definition, s.paused, s.generation, s.put_ms, s.done_ms]
            for s in self._schedules.values()
        ]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Schedules:
        """Inverse of `to_plain`."""
        schedules = cls()
        schedules._schedules = {row[0]: ScheduleInfo(*row) for row in plain}
        schedules._nbytes = sum(len(s.definition) for s in schedules._schedules.values())
        return schedules


def _problem(c: PutSchedule) -> str | None:
    if len(c.name) > limits.SCHEDULE_NAME_CHARS_MAX:
        return (
            f"schedule name {quoted(c.name)} must have at most"
            f" {limits.SCHEDULE_NAME_CHARS_MAX} characters"
        )
    if len(c.definition) > limits.SCHEDULE_BYTES_MAX:
        return (
            f"schedule {quoted(c.name)} has {len(c.definition)} bytes, payload and headers included;"
            f" at most {limits.SCHEDULE_BYTES_MAX} are allowed"
        )
    if not 0 <= c.now_ms <= limits.INTEGER_MAX:
        return f"time {c.now_ms} must be between 0 and {limits.INTEGER_MAX}"
    return name_problem("schedule", c.name)


def _missing(name: str) -> Result:
    return Result(Status.NOT_FOUND, f"there is no schedule {quoted(name)}")


def _limit(most: str) -> Result:
    return Result(Status.LIMIT, f"at most {most}; delete some first")

"""What a client's messages about recurring schedules do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from chronosdb.node.recurring.schedules import Schedules
from chronosdb.wire import messages as m


class ScheduleRequests:
    """The requests of one connection about schedules."""

    def __init__(self, schedules: Schedules, answer: Callable[[m.Message], None]) -> None:
        self._schedules = schedules
        self._answer = answer

    def handlers(self) -> dict[type, Callable[[Any], Awaitable[None]]]:
        """What to do with each message."""
        return {
            m.PutSchedule: self._put,
            m.GetSchedule: self._get,
            m.ListSchedules: self._list,
            m.PauseSchedule: self._pause,
            m.DeleteSchedule: self._delete,
            m.PreviewSchedule: self._preview,
        }

    async def _put(self, message: m.PutSchedule) -> None:
        schedule, created = await self._schedules.put(
            message.name, message.spec, paused=message.paused
        )
        self._answer(m.ScheduleReply(message.request, schedule, created))

    async def _get(self, message: m.GetSchedule) -> None:
        schedule = await self._schedules.get(message.name)
        self._answer(m.ScheduleReply(message.request, schedule))

    async def _list(self, message: m.ListSchedules) -> None:
        schedules, more = self._schedules.page(message.after)
        self._answer(m.SchedulesPage(message.request, schedules, more))

    async def _pause(self, message: m.PauseSchedule) -> None:
        schedule = await self._schedules.pause(message.name, paused=message.paused)
        self._answer(m.ScheduleReply(message.request, schedule))

    async def _delete(self, message: m.DeleteSchedule) -> None:
        await self._schedules.delete(message.name)
        self._answer(m.Done(message.request))

    async def _preview(self, message: m.PreviewSchedule) -> None:
        occurrences = await self._schedules.preview(message.what, message.after_ms, message.count)
        self._answer(m.Preview(message.request, occurrences))

"""The recurring schedules as their owners see them: put, get, list, pause, resume, delete, preview."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Final

from chronosdb.node.broker import Broker
from chronosdb.node.environment import Environment
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition.changes import Change
from chronosdb.node.recurring.schedule import (
    LEAD_MS,
    Plan,
    catch_up_of,
    encode_spec,
    rule_of,
    spec_of,
)
from chronosdb.node.recurring.scheduler import Scheduler
from chronosdb.node.reply import Reply
from chronosdb.raft import (
    AdvanceSchedules,
    DeleteSchedule,
    PauseSchedule,
    PutSchedule,
    ResumeSchedule,
    ScheduleInfo,
)
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, InvalidArgument, NotFound

_PAGE: Final = 100


class Schedules:
    """All schedules. A change is finished also when the client that asked for it goes away."""

    def __init__(self, env: Environment, metadata: Metadata, broker: Broker) -> None:
        self._env = env
        self._metadata = metadata
        self._broker = broker
        #: Carries them out; run by whoever runs the broker.
        self.scheduler = Scheduler(env, metadata, broker)

    async def put(
        self, name: str, spec: m.ScheduleSpec, *, paused: bool
    ) -> tuple[m.Schedule, bool]:
        """Create or replace a schedule; whether it is new. One that is equal goes on as it is.

        Raises:
            InvalidArgument: it is no rule, never occurs again, or is too large.
            NotFound: there is no such topic.
            Overloaded: there are too many schedules.
        """
        return await self._broker.to_the_end(partial(self._put, name, spec, paused=paused))

    async def pause(self, name: str, *, paused: bool) -> m.Schedule:
        """Pause a schedule, or let it go on from now.

        Raises:
            NotFound: there is none of that name.
        """
        return await self._broker.to_the_end(partial(self._pause, name, paused=paused))

    async def delete(self, name: str) -> None:
        """Remove a schedule; raises NotFound."""
        await self._broker.to_the_end(partial(self._delete, name))

    def get(self, name: str) -> m.Schedule:
        """One schedule; raises NotFound."""
        return self._shown(self._info(name))

    def page(self, after: str) -> tuple[list[m.Schedule], bool]:
        """Some schedules by name, behind `after`; whether more follow."""
        schedules = self._metadata.view.schedules
        names = sorted(name for name in schedules if name > after)
        return [self._shown(schedules[name]) for name in names[:_PAGE]], len(names) > _PAGE

    async def preview(self, what: str | m.Timetable, after_ms: int | None, count: int) -> list[int]:
        """The next occurrences of a schedule, or of a timetable put now.

        Raises:
            NotFound: there is no schedule of that name.
            InvalidArgument: the timetable states no rule.
        """
        now_ms = self._env.clock.now_ms()
        rule = Plan.of(self._info(what)).rule if isinstance(what, str) else rule_of(what, now_ms)
        found = rule.after(now_ms if after_ms is None else after_ms)
        # In a thread: a rule that hardly ever occurs takes a while to look through.
        return await self._env.threads.run(list, islice(found, count))

    async def _put(
        self, name: str, spec: m.ScheduleSpec, *, paused: bool
    ) -> tuple[m.Schedule, bool]:
        catch_up_of(spec)
        self._check_lead(spec)
        async with self.scheduler.changing:
            now_ms = self._env.clock.now_ms()
            if next(rule_of(spec.timetable, now_ms).after(now_ms), None) is None:
                raise InvalidArgument(
                    f"schedule {name!r} never occurs from now on: no such day, or ended"
                )
            command = PutSchedule(name, spec.topic, encode_spec(spec), paused, now_ms)
            before = self._metadata.view.schedules.get(name)
            created = (await self._metadata.change(command)).created
            info = self._info(name)
            if before is not None and before.generation != info.generation:
                await self._replace(before, info, now_ms)
        self.scheduler.wake()
        return self._shown(self._info(name)), created

    def _check_lead(self, spec: m.ScheduleSpec) -> None:
        """That the topic takes events as far ahead as they are made."""
        most_ms = self._broker.max_delay_ms(spec.topic)
        lead_ms = LEAD_MS + spec.timetable.jitter_ms
        if 0 < most_ms < lead_ms:
            raise InvalidArgument(
                f"events of this schedule are made up to {lead_ms} ms ahead (its jitter and"
                f" {LEAD_MS}); topic {spec.topic!r} takes none so far ahead (max_delay_ms={most_ms})"
            )

    async def _replace(self, before: ScheduleInfo, info: ScheduleInfo, now_ms: int) -> None:
        """No occurrence fires for both generations: what the earlier one fired is done."""
        fired_ms = await self._withdraw(before, now_ms)
        if fired_ms is not None and fired_ms > now_ms:
            mark = f"{info.name}/{info.generation}"
            await self._metadata.change(AdvanceSchedules({mark: fired_ms}))

    async def _pause(self, name: str, *, paused: bool) -> m.Schedule:
        async with self.scheduler.changing:
            now_ms = self._env.clock.now_ms()
            if paused:
                await self._metadata.change(PauseSchedule(name))
                # Also when it was paused already: the one who paused it may not have come this far.
                await self._withdraw(self._info(name), now_ms)
            else:
                await self._metadata.change(ResumeSchedule(name, now_ms))
        self.scheduler.wake()
        return self.get(name)

    async def _delete(self, name: str) -> None:
        async with self.scheduler.changing:
            info, now_ms = self._info(name), self._env.clock.now_ms()
            await self._metadata.change(DeleteSchedule(name))
            await self._withdraw(info, now_ms)

    async def _withdraw(self, info: ScheduleInfo, now_ms: int) -> int | None:
        """Cancel what was made of a schedule to fire after `now_ms`.

        Returns the newest occurrence that fired all the same, before it could be cancelled.
        """
        topic = self._metadata.view.topics.get(info.topic)
        if topic is None:
            return None
        plan = _plan(info)
        if plan is None:
            return None
        asked: list[tuple[int, Reply[Change | ChronosError]]] = []
        for occurrence in plan.perhaps_pending(now_ms):
            message_id = plan.message_id(occurrence)
            place = plan.place(message_id, topic.partitions)
            reply = Reply[Change | ChronosError]()
            self._broker.partition(topic.name, place).change(message_id, None, reply.set)
            asked.append((occurrence, reply))
        fired_ms = None
        for occurrence, reply in asked:
            outcome = await reply.get()
            if isinstance(outcome, ChronosError):
                raise outcome
            if outcome == "already_fired":
                fired_ms = occurrence
        return fired_ms

    def _info(self, name: str) -> ScheduleInfo:
        info = self._metadata.view.schedules.get(name)
        if info is None:
            raise NotFound(f"there is no schedule {name!r}")
        return info

    def _shown(self, info: ScheduleInfo) -> m.Schedule:
        plan = None if info.paused else _plan(info)
        now_ms = self._env.clock.now_ms()
        next_ms = None if plan is None else next(plan.rule.after(now_ms), None)
        return m.Schedule(
            info.name, spec_of(info), info.paused, info.generation, info.put_ms, next_ms
        )


def _plan(info: ScheduleInfo) -> Plan | None:
    """None for one that stands still: its zone, say, was given up. It can be seen and deleted."""
    try:
        return Plan.of(info)
    except InvalidArgument:
        return None

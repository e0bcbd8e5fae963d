"""The recurring schedules as their owners see them: put, get, list, pause, resume, delete, preview."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.environment import Environment
from chronosdb.node.fanout.fanout import Fanout
from chronosdb.node.fanout.messages import NO_REQUEST
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
from chronosdb.node.recurring.turn import Turn
from chronosdb.raft import (
    AdvanceSchedules,
    DeleteSchedule,
    PauseSchedule,
    PutSchedule,
    ResumeSchedule,
    ScheduleInfo,
)
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, InvalidArgument, NotFound, Overloaded

_PAGE: Final = 100
#: How long the node whose turn it is may take for a change: it may have to wait until it is sure.
_ELSEWHERE_MS: Final = 9_000

A = TypeVar("A", bound=m.Message)


class Schedules:
    """All schedules. A change is finished also when the client that asked for it goes away."""

    def __init__(
        self,
        env: Environment,
        metadata: Metadata,
        broker: Broker,
        fanout: Fanout | None = None,
        acts: Callable[[], bool] | None = None,
    ) -> None:
        """In a cluster `acts` says whether this node leads the metadata, and has a lease."""
        self._env = env
        self._metadata = metadata
        self._broker = broker
        self._fanout = fanout
        #: Carries them out; run by whoever runs the broker.
        self.scheduler = Scheduler(env, metadata, broker, Turn(metadata, acts), fanout)
        if fanout is not None:
            fanout.answer(m.PutSchedule, self._serve_put)
            fanout.answer(m.PauseSchedule, self._serve_pause)
            fanout.answer(m.DeleteSchedule, self._serve_delete)

    async def put(
        self, name: str, spec: m.ScheduleSpec, *, paused: bool
    ) -> tuple[m.Schedule, bool]:
        """Create or replace a schedule; whether it is new. One that is equal goes on as it is.

        Raises:
            InvalidArgument: it is no rule, never occurs again, or is too large.
            NotFound: there is no such topic.
            Overloaded: there are too many schedules.
        """
        there = await self._elsewhere(
            m.PutSchedule(NO_REQUEST, name, spec, paused), m.ScheduleReply
        )
        if there is not None:
            return there.schedule, there.created
        return await self._broker.to_the_end(partial(self._put, name, spec, paused=paused))

    async def pause(self, name: str, *, paused: bool) -> m.Schedule:
        """Pause a schedule, or let it go on from now.

        Raises:
            NotFound: there is none of that name.
        """
        there = await self._elsewhere(m.PauseSchedule(NO_REQUEST, name, paused), m.ScheduleReply)
        if there is not None:
            return there.schedule
        return await self._broker.to_the_end(partial(self._pause, name, paused=paused))

    async def delete(self, name: str) -> None:
        """Remove a schedule; raises NotFound."""
        if await self._elsewhere(m.DeleteSchedule(NO_REQUEST, name), m.Done) is None:
            await self._broker.to_the_end(partial(self._delete, name))

    async def get(self, name: str) -> m.Schedule:
        """One schedule; raises NotFound."""
        return self._shown(await self._broker.known(partial(self._info, name)))

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
        if isinstance(what, str):
            rule = Plan.of(await self._broker.known(partial(self._info, what))).rule
        else:
            rule = rule_of(what, now_ms)
        found = rule.after(now_ms if after_ms is None else after_ms)
        # In a thread: a rule that hardly ever occurs takes a while to look through.
        return await self._env.threads.run(list, islice(found, count))

    async def _put(
        self, name: str, spec: m.ScheduleSpec, *, paused: bool
    ) -> tuple[m.Schedule, bool]:
        catch_up_of(spec)
        await self._broker.known(partial(self._check_lead, spec))
        async with self.scheduler.change():
            now_ms = self._env.clock.now_ms()
            if next(rule_of(spec.timetable, now_ms).after(now_ms), None) is None:
                raise InvalidArgument(
                    f"schedule {name!r} never occurs from now on: no such day, or ended"
                )
            definition = encode_spec(spec)
            known = self._metadata.view.schedules.get(name)
            if known is not None and not known.says(spec.topic, definition, paused=paused):
                await self.scheduler.make_overdue(name, now_ms)
            command = PutSchedule(name, spec.topic, definition, paused, now_ms)
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
        async with self.scheduler.change():
            now_ms = self._env.clock.now_ms()
            if paused:
                # Who pauses it may do so because its partitions take nothing.
                with suppress(ChronosError):
                    await self.scheduler.make_overdue(name, now_ms)
                await self._metadata.change(PauseSchedule(name))
                # Also when it was paused already: the one who paused it may not have come this far.
                await self._withdraw(self._info(name), now_ms)
            else:
                await self._metadata.change(ResumeSchedule(name, now_ms))
        self.scheduler.wake()
        return self._shown(self._info(name))

    async def _delete(self, name: str) -> None:
        async with self.scheduler.change():
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
        outcomes: dict[int, Change | ChronosError] = {}

        async def cancel(occurrence: int) -> None:
            message_id = plan.message_id(occurrence)
            place = plan.place(message_id, topic.partitions)
            try:
                outcome = await self._broker.routes.change(topic.name, place, message_id, None)
            except ChronosError as error:
                outcomes[occurrence] = error
            else:
                outcomes[occurrence] = outcome

        async with trio.open_nursery() as nursery:
            for occurrence in plan.perhaps_pending(now_ms):
                nursery.start_soon(cancel, occurrence)
        fired_ms = None
        for occurrence, outcome in sorted(outcomes.items()):
            if isinstance(outcome, ChronosError):
                raise outcome
            if outcome == "already_fired":
                fired_ms = occurrence
        return fired_ms

    async def _elsewhere(self, message: m.Message, answer: type[A]) -> A | None:
        """What the node answers whose turn it is to make events; None: that is this node.

        Raises:
            Overloaded: there is none now.
            ChronosError: what it answers.
        """
        if self._fanout is None:
            return None
        leader = self._metadata.leader
        if leader is None:
            raise Overloaded("the cluster has no metadata leader now; try again")
        if leader == self._fanout.me:
            return None
        reply = await self._fanout.ask(leader, message, answer, within_ms=_ELSEWHERE_MS)
        # Who asks this node next wants to see what was changed.
        await self._metadata.read()
        return reply

    async def _serve_put(self, _peer: str, message: m.PutSchedule) -> m.ScheduleReply:
        work = partial(self._put, message.name, message.spec, paused=message.paused)
        return m.ScheduleReply(NO_REQUEST, *await self._broker.to_the_end(work))

    async def _serve_pause(self, _peer: str, message: m.PauseSchedule) -> m.ScheduleReply:
        work = partial(self._pause, message.name, paused=message.paused)
        return m.ScheduleReply(NO_REQUEST, await self._broker.to_the_end(work))

    async def _serve_delete(self, _peer: str, message: m.DeleteSchedule) -> m.Done:
        await self._broker.to_the_end(partial(self._delete, message.name))
        return m.Done(NO_REQUEST)

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

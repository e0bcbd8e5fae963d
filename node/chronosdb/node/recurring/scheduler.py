"""The scheduler: makes ordinary events of recurring schedules, each occurrence exactly once.

A round publishes what occurs within the next LEAD_MS, waits until that is on disk, and then notes in the
metadata how far each schedule has got. A crash in between repeats the publish, and the ids make the
repetition a duplicate. A node that was down for longer than the dedup window would not know those ids
any more: so `recall` looks for them when a partition has been opened, before its window moves.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.clock import Signal
from chronosdb.node.environment import Environment
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.proposals import Placement
from chronosdb.node.recurring.schedule import LEAD_MS, Plan
from chronosdb.node.reply import Reply
from chronosdb.raft import AdvanceSchedules, ScheduleInfo
from chronosdb.raft.limits import SCHEDULE_MARKS_MAX
from chronosdb.wire import EventBatch, encode_batch
from chronosdb.wire.errors import ChronosError, Conflict, InvalidArgument

logger = logging.getLogger(__name__)

#: One round publishes about so much, so that a great backlog goes in pieces.
_ROUND_BYTES: Final = 16 * 1024 * 1024
#: After a round in which something was refused.
_RETRY_MS: Final = 1_000

_Outcome = Placement | ChronosError


class Scheduler:
    """Carries out the schedules of this node's partitions."""

    def __init__(self, env: Environment, metadata: Metadata, broker: Broker) -> None:
        self._env = env
        self._metadata = metadata
        self._broker = broker
        #: Held during a round and during a change of a schedule: whoever changes one finds each of its
        #: events either in the log, where it can be cancelled, or not made yet.
        self.changing = trio.Lock()
        #: By name. Invariant: after `_refresh`, those of the metadata that are not paused.
        self._plans: dict[str, Plan] = {}
        #: The metadata's schedules that `_plans` was made of.
        self._seen: Mapping[str, ScheduleInfo] = {}
        #: Generations that this version cannot carry out: said once.
        self._unfit: set[int] = set()
        #: Ids of events that an earlier life of this node had made and not noted.
        self._made: set[bytes] = set()
        self._wake = Signal()
        self._stopping = False

    async def run(self) -> None:
        """Make events until stopped."""
        while not self._stopping:
            async with self.changing:
                again_ms = await self._round(self._env.clock.now_ms())
            await self._env.clock.wait(self._wake, again_ms)

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping = True
        self._wake.set()

    def wake(self) -> None:
        """A schedule has changed."""
        self._wake.set()

    def recall(self, partition: Partition) -> None:
        """Remember which events that are about to be made are in this partition already.

        To be called before the partition commits anything: until then the dedup window is where it was
        when the node went down.
        """
        now_ms = self._env.clock.now_ms()
        partitions = self._broker.topic(partition.id.topic).partitions
        for plan in self._refresh():
            if plan.info.topic == partition.id.topic:
                ids = [
                    plan.message_id(occurrence) for occurrence in plan.wanted(now_ms).occurrences
                ]
                here = [i for i in ids if plan.place(i, partitions) == partition.id.partition]
                offsets = partition.state.dedup.find(here) or [None] * len(here)
                self._made.update(i for i, o in zip(here, offsets, strict=True) if o is not None)

    async def _round(self, now_ms: int) -> int | None:
        """Make the events whose time has nearly come; returns when there is more to do."""
        plans = self._refresh()
        ready = [p for p in plans if p.next_ms is not None and p.next_ms <= now_ms + LEAD_MS]
        # The most urgent first: a schedule with a great backlog does not hold up the others.
        ready.sort(key=lambda plan: plan.next_ms or 0)
        shares: list[_Share] = []
        room = _ROUND_BYTES
        for plan in ready:
            share = _Share(plan, now_ms)
            self._publish(share)
            shares.append(share)
            room -= share.nbytes
            if room < 0:
                break
            await trio.lowlevel.checkpoint()
        refused = await self._note([share for share in shares if await share.stored()])
        for share in shares:
            refused = refused or share.error
            if share.noted:
                share.plan.next_ms = share.following
        if refused is not None and not self._stopping:
            logger.warning("schedules wait: %s", refused)
            return now_ms + _RETRY_MS
        coming = [plan.next_ms for plan in plans if plan.next_ms is not None]
        # Half-way into the lead, so that what occurs in one stretch is made in one round.
        return min(coming) - LEAD_MS // 2 if coming else None

    def _publish(self, share: _Share) -> None:
        """Queue the events of some occurrences, but for those that are in the log already."""
        try:
            plan, topic = share.plan, self._broker.topic(share.plan.info.topic)
            for occurrence in share.occurrences:
                row = plan.row(occurrence)
                if row.message_id not in self._made:
                    place = plan.place(row.message_id, topic.partitions)
                    batch = EventBatch(encode_batch([row]))
                    reply = Reply[_Outcome]()
                    self._broker.partition(topic.name, place).publish(batch, reply.set)
                    share.replies.append(reply)
                    share.nbytes += len(batch.blob)
        except ChronosError as error:
            share.error = error

    async def _note(self, shares: list[_Share]) -> ChronosError | None:
        """Have the metadata remember what is done; the error if it refuses."""
        for start in range(0, len(shares), SCHEDULE_MARKS_MAX):
            some = shares[start : start + SCHEDULE_MARKS_MAX]
            marks = {share.plan.mark: share.occurrences[-1] for share in some if share.occurrences}
            try:
                if marks:
                    await self._metadata.change(AdvanceSchedules(marks))
            except ChronosError as error:
                return error
            for share in some:
                share.noted = True
                self._made.difference_update(map(share.plan.message_id, share.occurrences))
        return None

    def _refresh(self) -> list[Plan]:
        """The plans of all schedules that are not paused, as the metadata has them now."""
        schedules = self._metadata.view.schedules
        if schedules is not self._seen:
            active = (info for info in schedules.values() if not info.paused)
            plans = ((info.name, self._plan(info)) for info in active)
            self._plans = {name: plan for name, plan in plans if plan is not None}
            self._seen = schedules
        return list(self._plans.values())

    def _plan(self, info: ScheduleInfo) -> Plan | None:
        known = self._plans.get(info.name)
        if known is not None and known.info.generation == info.generation:
            known.info = info
            return known
        try:
            return Plan.of(info)
        except InvalidArgument as error:
            if info.generation not in self._unfit:
                self._unfit.add(info.generation)
                logger.warning("schedule %s stands still: %s", info.name, error)
            return None


class _Share:
    """What one schedule has in a round."""

    def __init__(self, plan: Plan, now_ms: int) -> None:
        self.plan = plan
        self.occurrences, self.following = plan.wanted(now_ms)
        self.replies: list[Reply[_Outcome]] = []
        self.nbytes = 0
        self.error: ChronosError | None = None
        #: The metadata know that it is done.
        self.noted = False

    async def stored(self) -> bool:
        """Wait for the log; whether all of it is there."""
        for reply in self.replies:
            outcome = await reply.get()
            if isinstance(outcome, Conflict):
                # Somebody used this id for something else. It would never succeed: it is done.
                logger.error("schedule %s: %s", self.plan.info.name, outcome)
            elif isinstance(outcome, ChronosError):
                self.error = outcome
        return self.error is None

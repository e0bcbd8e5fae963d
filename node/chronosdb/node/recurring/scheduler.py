"""The scheduler: makes ordinary events of recurring schedules, each occurrence exactly once.

A round publishes what occurs within the next LEAD_MS, waits until that is on disk, and then notes in the
metadata how far each schedule has got. A crash in between repeats the publish, and the ids make the
repetition a duplicate. A node that was down for longer than the dedup window would not know those ids
any more: so `recall` looks for them when a partition has been opened, before its window moves. In a
cluster the node whose turn it is (`turn.py`) does all this, and the leaders of the partitions publish for it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.clock import Signal
from chronosdb.node.environment import Environment
from chronosdb.node.fanout.fanout import Fanout
from chronosdb.node.fanout.messages import NO_REQUEST, PublishOccurrence
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.proposals import Placement
from chronosdb.node.recurring.schedule import LEAD_MS, Plan
from chronosdb.node.recurring.turn import Turn
from chronosdb.node.reply import Reply
from chronosdb.raft import AdvanceSchedules, ScheduleInfo
from chronosdb.raft.limits import SCHEDULE_MARKS_MAX
from chronosdb.wire import EventBatch, encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, Conflict, InvalidArgument, Overloaded

logger = logging.getLogger(__name__)

#: One round publishes about so much, so that a great backlog goes in pieces.
_ROUND_BYTES: Final = 16 * 1024 * 1024
#: After a round in which something was refused.
_RETRY_MS: Final = 1_000

#: None: another node has published it.
_Outcome = Placement | ChronosError | None


class Scheduler:
    """Carries out the schedules: a node alone all of them, of a cluster one node at a time."""

    def __init__(
        self,
        env: Environment,
        metadata: Metadata,
        broker: Broker,
        turn: Turn,
        fanout: Fanout | None = None,
    ) -> None:
        self._env = env
        self._metadata = metadata
        self._broker = broker
        self._turn = turn
        #: Held during a round and during a change of a schedule: whoever changes one finds each of its
        #: events either in the log, where it can be cancelled, or not made yet.
        self.changing = trio.Lock()
        #: By name. Invariant: after `_refresh`, those of the metadata that are not paused.
        self._plans: dict[str, Plan] = {}
        #: The metadata's schedules that `_plans` was made of.
        self._seen: Mapping[str, ScheduleInfo] = {}
        #: Generations that this version cannot carry out: said once.
        self._unfit: set[int] = set()
        #: Events that were made and not noted before their partition was opened here, by id: of which
        #: generation and occurrence. Invariant: after `_refresh`, only such as are not noted yet.
        self._made: dict[bytes, tuple[str, int]] = {}
        self._was_mine = False
        self._wake = Signal()
        self._stopping = False
        if fanout is not None:
            fanout.answer(PublishOccurrence, self._serve)

    async def run(self) -> None:
        """Make events until stopped, whenever it is this node's turn."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._turn.follow, self._noticed)
            while not self._stopping:
                again_ms = None
                async with self.changing:
                    if self._turn.is_mine:
                        again_ms = await self._round(self._env.clock.now_ms())
                await self._env.clock.wait(self._wake, again_ms)
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def change(self) -> AsyncIterator[None]:
        """While the block runs nobody makes events, and this node knows of all changes before.

        Raises:
            Overloaded: it is another node's turn.
            ChronosError: this node cannot know of all changes now.
        """
        await self._turn.unrivalled()  # Before the lock: rounds go on meanwhile.
        async with self.changing:
            await self._turn.up_to_date()
            await self._turn.unrivalled()
            if not self._turn.is_mine:
                raise Overloaded("another node leads the metadata now; try again")
            yield

    async def make_overdue(self, name: str, now_ms: int) -> None:
        """Make what a schedule should have made by `now_ms`; for use inside `change`.

        A generation that ends then takes with it what it has not made: that must lie behind it.

        Raises:
            ChronosError: some of it was refused, or could not be noted.
        """
        while True:
            self._refresh()
            plan = self._plans.get(name)
            if plan is None or plan.next_ms is None or plan.next_ms > now_ms:
                return
            refused = await self._make([plan], now_ms)
            if refused is not None:
                raise refused

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
            if plan.info.topic != partition.id.topic:
                continue
            occurrences = {plan.message_id(o): o for o in plan.wanted(now_ms).occurrences}
            here = [i for i in occurrences if plan.place(i, partitions) == partition.id.partition]
            offsets = partition.state.dedup.find(here) or [None] * len(here)
            for message_id, offset in zip(here, offsets, strict=True):
                if offset is not None:
                    self._made[message_id] = (plan.mark, occurrences[message_id])

    async def _round(self, now_ms: int) -> int | None:
        """Make the events whose time has nearly come; returns when there is more to do."""
        ready = self._ready(now_ms)
        if ready:
            try:
                await self._turn.up_to_date()
            except ChronosError as error:
                logger.info("schedules wait: %s", error)
                return now_ms + _RETRY_MS
            ready = self._ready(now_ms)
        refused = await self._make(ready, now_ms)
        if refused is not None and not self._stopping:
            logger.warning("schedules wait: %s", refused)
            return now_ms + _RETRY_MS
        coming = [plan.next_ms for plan in self._plans.values() if plan.next_ms is not None]
        # Half-way into the lead, so that what occurs in one stretch is made in one round.
        return min(coming) - LEAD_MS // 2 if coming else None

    async def _make(self, ready: list[Plan], now_ms: int) -> ChronosError | None:
        """Make the events of these plans, as many as one round takes; the error if some were refused."""
        shares = await self._published(ready, now_ms)
        refused = await self._note([share for share in shares if await share.stored()])
        for share in shares:
            refused = refused or share.error
            if share.noted:
                share.plan.next_ms = share.following
        return refused

    def _ready(self, now_ms: int) -> list[Plan]:
        """The plans with something to make now.

        The most urgent first: a schedule with a great backlog does not hold up the others.
        """
        plans = self._refresh()
        ready = [p for p in plans if p.next_ms is not None and p.next_ms <= now_ms + LEAD_MS]
        return sorted(ready, key=lambda plan: plan.next_ms or 0)

    async def _published(self, ready: list[Plan], now_ms: int) -> list[_Share]:
        """Publish the events of these plans, as many as one round takes."""
        shares: list[_Share] = []
        room = _ROUND_BYTES
        async with trio.open_nursery() as nursery:
            for plan in ready:
                share = _Share(plan, now_ms)
                self._publish(share, nursery)
                shares.append(share)
                room -= share.nbytes
                if room < 0:
                    break
                await trio.lowlevel.checkpoint()
        return shares

    def _publish(self, share: _Share, nursery: trio.Nursery) -> None:
        """Queue the events of some occurrences, but for those that are in the log already."""
        try:
            plan, topic = share.plan, self._broker.topic(share.plan.info.topic)
            for occurrence in share.occurrences:
                if not self._turn.is_mine:
                    raise Overloaded("another node leads the metadata now")
                row = plan.row(occurrence)
                if row.message_id not in self._made:
                    place = plan.place(row.message_id, topic.partitions)
                    batch = EventBatch(encode_batch([row]))
                    reply = Reply[_Outcome]()
                    partition = self._broker.routes.here(topic.name, place)
                    if partition is not None:
                        self._broker.routes.publish_here(partition, batch, reply.set)
                    else:
                        message = PublishOccurrence(topic.name, place, batch.blob)
                        nursery.start_soon(self._ask, share, message, reply)
                    share.replies.append(reply)
                    share.nbytes += len(batch.blob)
        except ChronosError as error:
            share.error = error

    async def _ask(self, share: _Share, message: PublishOccurrence, reply: Reply[_Outcome]) -> None:
        """Have another node publish, unless one did not that was asked for the same schedule."""
        if share.error is None:
            try:
                await self._broker.routes.ask(message.topic, message.partition, message, m.Done)
            except Conflict as error:
                reply.set(error)
                return
            except ChronosError as error:
                share.error = error
        reply.set(share.error)

    async def _serve(self, peer: str, message: PublishOccurrence) -> m.Done:
        """Publish for the node whose turn it is. One whose turn has passed must not any more."""
        if peer != self._metadata.leader:
            raise Overloaded(f"node {peer} does not lead the metadata, as far as is known here")
        batch = EventBatch(message.batch)
        batch.check_limits()
        if batch.message_id(0) not in self._made:
            partition = self._broker.partition(message.topic, message.partition)
            await self._broker.routes.published(partition, batch)
        return m.Done(NO_REQUEST)

    def _noticed(self) -> None:
        """Something about the metadata may have changed."""
        schedules = self._metadata.view.schedules
        if self._turn.is_mine is not self._was_mine or schedules is not self._seen:
            self._was_mine = self._turn.is_mine
            self._refresh()
            self._wake.set()

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
        return None

    def _refresh(self) -> list[Plan]:
        """The plans of all schedules that are not paused, as the metadata has them now."""
        schedules = self._metadata.view.schedules
        if schedules is not self._seen:
            active = (info for info in schedules.values() if not info.paused)
            plans = ((info.name, self._plan(info)) for info in active)
            self._plans = {name: plan for name, plan in plans if plan is not None}
            self._seen = schedules
            self._made = {i: made for i, made in self._made.items() if self._is_open(*made)}
        return list(self._plans.values())

    def _is_open(self, mark: str, occurrence: int) -> bool:
        """Whether the metadata have not noted this occurrence yet."""
        plan = self._plans.get(mark.rpartition("/")[0])
        return plan is not None and plan.mark == mark and plan.info.done_ms < occurrence

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

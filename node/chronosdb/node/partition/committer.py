"""The committer: the one task that writes a partition's log, and the only owner of its state.

It takes whatever has queued, decides it, adds the events that came due, appends all of it as one
group, syncs once, applies it, and only then answers (group commit). While the disk works, sessions
decode what comes next. Where the partition has replicas, they get the bytes while the disk syncs, and
the group is applied when enough of them have it. The first failed write or sync ends all this (I15).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from chronosdb.node import faults
from chronosdb.node.clock import Signal
from chronosdb.node.environment import Environment
from chronosdb.node.partition import records
from chronosdb.node.partition.acks import Acks, Deposed, Replication, unless_damaged
from chronosdb.node.partition.checkpointer import Checkpointer
from chronosdb.node.partition.counters import Counters
from chronosdb.node.partition.disk_watch import DiskWatch
from chronosdb.node.partition.due import Due, joined
from chronosdb.node.partition.joining import Published, join_small
from chronosdb.node.partition.late_answers import LateAnswers
from chronosdb.node.partition.limits import Limits
from chronosdb.node.partition.loader import Loader
from chronosdb.node.partition.proposal_queue import ProposalQueue
from chronosdb.node.partition.reader import EventReader, Fired, Stored
from chronosdb.node.partition.records import Kind
from chronosdb.node.partition.staging import Proposal, Staging
from chronosdb.node.partition.state import PartitionState
from chronosdb.node.reply import Reply
from chronosdb.wal import DamagedRecord, DiskFull, Draft, Log, Record
from chronosdb.wire.errors import ChronosError, Overloaded

#: Expired timers may take a sixteenth of a group, 16 bytes each: publishes go between two parts of many.
_FIRE_SHARE: Final = 16 * 16
_WINDOW_CHECK_MS: Final = 1000
_FULL_DISK_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class CommitOptions:
    """When a write counts as committed, and when the views are saved."""

    #: `batch`: one sync per group, before the answers. `every_event`: one per request.
    #: `periodic`: answers first, sync every `fsync_interval_ms`; a power cut may lose that much.
    fsync: str = "batch"
    fsync_interval_ms: int = 50
    #: A checkpoint is due after this many bytes of log, or this long after the first of them.
    checkpoint_bytes: int = 16 * 1024 * 1024
    checkpoint_interval_ms: int = 30_000
    #: Publishes waiting, in bytes: beyond it publishers are told Overloaded.
    queue_bytes: int = 256 * 1024 * 1024
    dedup_window_ms: int = 7 * 24 * 3600 * 1000
    #: See `Limits`; 0: none.
    max_delay_ms: int = 0
    max_pending: int = 0
    #: What a publish waits for that does not say so: see `Acks`.
    acks: int = Acks.QUORUM
    #: One write group, about: large enough to make an fsync cheap per event, small enough not to
    #: delay a timer by more than a few milliseconds.
    group_bytes: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Group:
    """One write group, decided."""

    proposals: Sequence[Proposal]
    drafts: Sequence[Draft]
    #: Each with its offsets by id.
    published: Sequence[Published]
    #: Taken out of the wheel for this group.
    expired: Due
    #: `expired` and what is published in this group and due already.
    fired: Due


class Committer:
    """Writes one partition's log."""

    def __init__(
        self,
        env: Environment,
        log: Log,
        state: PartitionState,
        *,
        reader: EventReader,
        options: CommitOptions,
        counters: Counters,
        limits: Limits,
        name: str,
        replication: Replication | None = None,
    ) -> None:
        self._env = env
        #: None: there is no other copy.
        self._replication = replication
        self._log = log
        self._state = state
        self._reader = reader
        self._options = options
        self._counters = counters
        self._limits = limits
        self._disk = DiskWatch(name, log, counters.sync_s)
        #: Told when `end_position` has grown.
        self.on_fired: Callable[[], None] = lambda: None
        self._checkpointer = Checkpointer(
            env,
            state,
            nbytes=options.checkpoint_bytes,
            interval_ms=options.checkpoint_interval_ms,
            has_space=log.has_space,
            timings=counters.checkpoint_s,
        )
        self._loader = Loader(env, state.timers, self._checkpointer)
        self._queue = ProposalQueue(
            options.queue_bytes, options.group_bytes, one_by_one=options.fsync == "every_event"
        )
        self._wake = Signal()
        self._stopping = False
        #: What everybody is told once another node may lead.
        self._refusal: ChronosError | None = None
        self._late = None if replication is None else LateAnswers(replication)
        self._paused = False
        #: A write group is under way.
        self._writing = False
        #: `periodic` only: when the oldest unsynced group was written.
        self._unsynced_since_ms: int | None = None
        self._window_checked_ms = 0
        #: What the log is to lose next, and who waits for it.
        self._drop: tuple[int, Reply[ChronosError | None]] | None = None
        #: Positions below this are committed and may be delivered (I6, I11).
        self.end_position = log.next_position
        #: Offsets below this are committed.
        self.end_offset = log.next_offset
        #: Told whenever something was committed.
        self.listeners: list[Callable[[], None]] = []

    @property
    def last_ts_ms(self) -> int:
        """Time of the newest record; log time never goes back, whatever the wall clock does."""
        return self._log.last_ts_ms

    def submit(self, proposal: Proposal) -> None:
        """Queue a proposal; it is told how it ended.

        Raises:
            Overloaded: the queue is full, or the partition is stopping. Nothing was stored.
            NotLeader: this node leads the partition no more.
        """
        if self._refusal is not None:
            raise _again(self._refusal)
        if self._stopping:
            raise Overloaded("the node is shutting down; try again when it is back")
        self._queue.add(proposal)
        self._wake.set()

    async def drop_before(self, lsn: int) -> None:
        """Let the log lose its segments below `lsn`, between two write groups.

        Raises:
            Overloaded: the disk is too full even for that, or the partition is stopping.
            NotLeader: this node leads the partition no more.
        """
        async with self._checkpointer.saving:
            if self._refusal is not None:
                raise _again(self._refusal)
            if self._stopping:
                raise Overloaded("the node is shutting down")
            assert self._drop is None
            reply = Reply[ChronosError | None]()
            self._drop = (lsn, reply)
            self._wake.set()
            error = await reply.get()
        if error is not None:
            raise error

    async def save_views(self) -> None:
        """Have a checkpoint written; returns when it is in the store."""
        await self._checkpointer.save()

    def has_space(self) -> bool:
        """Whether there is disk space for a checkpoint."""
        return self._log.has_space()

    def stop(self) -> None:
        """Finish what is queued, save the views, and let `run` return."""
        self._stopping = True
        self._wake.set()

    def pause(self, paused: bool) -> None:
        """Write nothing while `paused`, so that replicas can become level; what comes in waits."""
        self._paused = paused
        self._wake.set()

    @property
    def is_writing(self) -> bool:
        """Whether a write group is under way, also while paused."""
        return self._writing

    def depose(self, error: ChronosError) -> None:
        """Write nothing more, tell all who wait `error`, and let `run` return.

        What is written and not known to be committed is for the next leader to judge.
        """
        self._refusal = error
        self._wake.set()

    async def run(self) -> None:
        """Commit until stopped, or deposed.

        Raises:
            LogFailed: the disk failed; nothing after that was answered with success.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(unless_damaged, self._replication, self._checkpointer.run)
            nursery.start_soon(self._loader.run)
            if self._late is not None:
                nursery.start_soon(self._late.run)
            with suppress(Deposed):
                await unless_damaged(self._replication, self._commit_until_stopped)
            self._refuse_all(self._refusal or Overloaded("the node is shutting down; try again"))
            nursery.cancel_scope.cancel()
        if self._refusal is not None:
            return
        await self._env.threads.run(self._log.sync)
        if self._log.has_space():
            await self._checkpointer.save()

    async def _commit_until_stopped(self) -> None:
        while not self._stopping or self._queue:
            if self._paused:
                await self._wake.wait()
            elif not self._queue and self._drop is None:
                await self._env.clock.wait(self._wake, self._next_deadline_ms())
            if self._refusal is not None:
                raise Deposed(self._refusal)
            if not self._paused:
                self._writing = True
                await self._drop_segments()
                # Before anything is taken: whoever waits must be answered if the log is damaged here.
                self._slide_window(self._env.clock.now_ms())
                await self._commit(self._queue.take())
                self._writing = False
        await self._drop_segments()

    def _refuse_all(self, error: ChronosError) -> None:
        """Whoever still waits will hear nothing else; after a stop that is nobody but for replicas."""
        late = [] if self._late is None else self._late.take_all()
        for proposal in [*late, *self._queue.take_all()]:
            proposal.refused(_again(error))
        if self._drop is not None:
            _, reply = self._drop
            self._drop = None
            reply.set(_again(error))
        for listener in list(self.listeners):
            listener()

    def _next_deadline_ms(self) -> int | None:
        """When the next timer or periodic sync is due."""
        timer = self._state.timers.next_wakeup_ms()
        if self._unsynced_since_ms is None:
            return timer
        sync = self._unsynced_since_ms + self._options.fsync_interval_ms
        return sync if timer is None else min(timer, sync)

    async def _commit(self, proposals: Sequence[Proposal]) -> None:
        now_ms = self._env.clock.now_ms()
        group = self._decide(proposals, now_ms)
        self._loader.changed()
        # One that is alone has no other beside it: see `ProposalQueue.take`.
        alone = bool(proposals) and proposals[0].alone
        sync = alone or self._must_sync(now_ms, writes=bool(group.drafts))
        if group.drafts or sync:
            try:
                written = await self._store(group, sync)
            except DiskFull as error:
                await self._save_space(group, error)
                return
            if group.published:
                self._disk.stored()
            self._unsynced_since_ms = None if sync else (self._unsynced_since_ms or now_ms)
            if self._replication is not None and self._late is not None:
                await self._replicate(self._replication, self._late, group, written)
                return
            self._apply(group, written)
        for proposal in group.proposals:
            proposal.committed()

    async def _store(self, group: _Group, sync: bool) -> list[Record]:
        """Write the group, here; replicas are sent it before it is synced."""
        monotonic_s = trio.lowlevel.current_clock().current_time
        run = self._env.threads.run
        if self._replication is None:
            return await run(self._write, group, sync, monotonic_s)
        written = await run(self._append, group)
        self._replication.appended()
        if sync:
            await run(self._disk.sync, monotonic_s)
        self._replication.synced()
        return written

    async def _replicate(
        self,
        replication: Replication,
        late: LateAnswers,
        group: _Group,
        written: Sequence[Record],
    ) -> None:
        """See the group committed, apply it, and answer each as it wants to be answered.

        Raises:
            Deposed: nobody will know here whether it is committed.
        """
        end_lsn = self._log.end_lsn
        for proposal in group.proposals:
            if proposal.acks == Acks.LEADER:
                proposal.committed()
        rest = [proposal for proposal in group.proposals if proposal.acks != Acks.LEADER]
        try:
            await replication.committed(end_lsn)
        except Deposed as deposed:
            for proposal in rest:
                proposal.refused(_again(deposed.error))
            raise
        self._apply(group, written)
        for proposal in rest:
            if proposal.acks == Acks.ALL:
                late.add(end_lsn, proposal)
            else:
                proposal.committed()

    def _decide(self, proposals: Sequence[Proposal], now_ms: int) -> _Group:
        """Turn proposals and due timers into drafts.

        Changes nothing but the wheel, and, for retention, where groups may begin at the earliest.
        """
        state = self._state
        staging = Staging(now_ms, state, self._reader, self._log.next_offset, self._limits)
        accepted: list[Proposal] = []
        drafts: list[Draft] = []
        for proposal in proposals:
            try:
                draft = proposal.decide(staging)
            except ChronosError as error:
                proposal.refused(error)
                continue
            except DamagedRecord as error:
                proposal.refused(faults.of_log(error))
                continue
            accepted.append(proposal)
            if draft is not None:
                drafts.append(draft)
        expired = state.timers.expire(now_ms, self._options.group_bytes // _FIRE_SHARE)
        fired = joined([staging.remaining(expired), *staging.due]).ordered()
        if fired.size:
            drafts.append(records.fire(fired, now_ms, state.epoch))
        return _Group(accepted, *join_small(drafts, staging.published), expired, fired)

    def _must_sync(self, now_ms: int, *, writes: bool) -> bool:
        if self._options.fsync != "periodic":
            return writes
        since = self._unsynced_since_ms
        return since is not None and now_ms >= since + self._options.fsync_interval_ms

    def _write(self, group: _Group, sync: bool, monotonic_s: Callable[[], float]) -> list[Record]:
        """Append and sync. Runs in a worker thread."""
        written = self._append(group)
        if sync:
            self._disk.sync(monotonic_s)
        return written

    def _append(self, group: _Group) -> list[Record]:
        """The only place where the log is written. Runs in a worker thread."""
        nbytes = sum(draft.nbytes for draft in group.drafts)
        self._log.reserve(nbytes, emergency=not group.published)
        written = self._log.append(group.drafts)
        if written:
            self._counters.group_bytes.add(nbytes)
        return written

    async def _save_space(self, group: _Group, error: DiskFull) -> None:
        """Nothing was written: refuse what may be refused, write the rest into the reserve."""
        self._disk.full()
        self._state.timers.put_back(group.expired)
        kept = [p for p in group.proposals if not p.sheddable]
        for proposal in group.proposals:
            if proposal.sheddable:
                proposal.refused(Overloaded(f"no disk space for more events: {error}"))
        if len(kept) < len(group.proposals):
            # At once: with the next publishes in the group it would be too large again.
            await self._commit(kept)
        else:
            # Even the reserve is used up. Acks and firing wait for space; nothing is dropped.
            self._queue.put_back(kept)
            await trio.sleep(_FULL_DISK_PAUSE_S)

    def _apply(self, group: _Group, written: Sequence[Record]) -> None:
        """Move the state past what is now in the log."""
        published = iter(group.published)
        for record in written:
            value: Stored | Fired | None = None
            ids: Mapping[bytes, int] | None = None
            if record.kind == Kind.PUBLISH:
                value, ids = next(published)
                value = value._replace(published_ms=record.ts_ms)
            elif record.kind == Kind.FIRE:
                value = Fired(group.fired, record.position)
            if value is not None:
                self._reader.remember(value, len(record.body))
            self._state.apply(record, value, ids)
            self._counters.committed(record)
        self._state.timers.place()
        self._checkpointer.changed()
        self.end_offset = self._log.next_offset
        if group.fired.size:
            self.end_position = self._log.next_position
            self.on_fired()
        for listener in self.listeners:
            listener()

    async def _drop_segments(self) -> None:
        """The other place where the log is changed; nothing is written meanwhile."""
        if self._drop is None:
            return
        lsn, reply = self._drop
        error: ChronosError | None = None
        try:
            await self._env.threads.run(self._log.drop_before, lsn)
        except DiskFull as full:
            error = faults.of_log(full)
        self._drop = None
        reply.set(error)

    def _slide_window(self, now_ms: int) -> None:
        """Let ids leave the dedup window, once a second; at once back in, when the clock was set back."""
        log_ms = max(now_ms, self._log.last_ts_ms)
        if not 0 <= log_ms - self._window_checked_ms < _WINDOW_CHECK_MS:
            self._window_checked_ms = log_ms
            self._state.slide_window(log_ms, self._options.dedup_window_ms)


def _again(error: ChronosError) -> ChronosError:
    """An error for one more receiver: each raises its own."""
    return type(error)(error.message, details=error.details)

"""The committer: the one task that writes a partition's log, and the only owner of its state.

It takes whatever has queued, decides it, adds the events that came due, appends all of it as one
group, syncs once, applies it, and only then answers (group commit). While the disk works, sessions
decode what comes next. The first failed write or sync ends the partition for good (I15).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from chronosdb.node import faults
from chronosdb.node.clock import Signal
from chronosdb.node.environment import Environment
from chronosdb.node.partition import records
from chronosdb.node.partition.checkpointer import Checkpointer
from chronosdb.node.partition.counters import Counters
from chronosdb.node.partition.disk_watch import DiskWatch
from chronosdb.node.partition.due import Due, joined
from chronosdb.node.partition.limits import Limits
from chronosdb.node.partition.reader import EventReader, Fired, Stored
from chronosdb.node.partition.records import Kind
from chronosdb.node.partition.staging import Proposal, Staging
from chronosdb.node.partition.state import PartitionState
from chronosdb.node.reply import Reply
from chronosdb.wal import DamagedRecord, DiskFull, Draft, Log, Record
from chronosdb.wire.errors import ChronosError, Overloaded

_GROUP_PROPOSALS: Final = 4096
#: A FIRE record of expired timers may take a quarter of a group: 16 bytes per event.
_FIRE_SHARE: Final = 4 * 16
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
    checkpoint_bytes: int = 64 * 1024 * 1024
    checkpoint_interval_ms: int = 30_000
    #: Publishes waiting, in bytes: beyond it publishers are told Overloaded.
    queue_bytes: int = 256 * 1024 * 1024
    dedup_window_ms: int = 7 * 24 * 3600 * 1000
    #: See `Limits`; 0: none.
    max_delay_ms: int = 0
    max_pending: int = 0
    #: One write group, about: large enough to make an fsync cheap per event, small enough not to
    #: delay a timer by more than a few milliseconds.
    group_bytes: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Group:
    """One write group, decided."""

    proposals: Sequence[Proposal]
    drafts: Sequence[Draft]
    published: Sequence[Stored]
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
    ) -> None:
        self._env = env
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
        self._queue: deque[Proposal] = deque()
        #: Bytes of the publishes in the queue.
        self._queued_bytes = 0
        self._wake = Signal()
        self._stopping = False
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
        """
        if self._stopping:
            raise Overloaded("the node is shutting down; try again when it is back")
        if proposal.sheddable and self._queued_bytes > self._options.queue_bytes:
            raise Overloaded(f"{self._queued_bytes} bytes wait to be written here; slow down")
        self._queue.append(proposal)
        self._queued_bytes += _sheddable_bytes(proposal)
        self._wake.set()

    async def drop_before(self, lsn: int) -> None:
        """Let the log lose its segments below `lsn`, between two write groups.

        Raises:
            Overloaded: the disk is too full even for that, or the partition is stopping.
        """
        async with self._checkpointer.saving:
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

    async def run(self) -> None:
        """Commit until stopped.

        Raises:
            LogFailed: the disk failed; nothing after that was answered with success.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._checkpointer.run)
            while self._queue or not self._stopping:
                if not self._queue and self._drop is None:
                    await self._env.clock.wait(self._wake, self._next_deadline_ms())
                await self._drop_segments()
                await self._commit(self._take())
            await self._drop_segments()
            nursery.cancel_scope.cancel()
        await self._env.threads.run(self._log.sync)
        if self._log.has_space():
            await self._checkpointer.save()

    def _next_deadline_ms(self) -> int | None:
        """When the next timer or periodic sync is due."""
        timer = self._state.timers.next_wakeup_ms()
        if self._unsynced_since_ms is None:
            return timer
        sync = self._unsynced_since_ms + self._options.fsync_interval_ms
        return sync if timer is None else min(timer, sync)

    def _take(self) -> list[Proposal]:
        """The proposals of the next group, oldest first."""
        limit = 1 if self._options.fsync == "every_event" else _GROUP_PROPOSALS
        group: list[Proposal] = []
        nbytes = 0
        while self._queue and len(group) < limit and nbytes < self._options.group_bytes:
            if group and (group[-1].alone or self._queue[0].alone):
                break
            group.append(self._queue.popleft())
            nbytes += group[-1].nbytes
            self._queued_bytes -= _sheddable_bytes(group[-1])
        return group

    async def _commit(self, proposals: Sequence[Proposal]) -> None:
        now_ms = self._env.clock.now_ms()
        self._slide_window(now_ms)
        group = self._decide(proposals, now_ms)
        alone = any(proposal.alone for proposal in proposals)
        sync = alone or self._must_sync(now_ms, writes=bool(group.drafts))
        if group.drafts or sync:
            try:
                monotonic_s = trio.lowlevel.current_clock().current_time
                written = await self._env.threads.run(self._write, group, sync, monotonic_s)
            except DiskFull as error:
                await self._save_space(group, error)
                return
            if group.published:
                self._disk.stored()
            self._apply(group, written)
            self._unsynced_since_ms = None if sync else (self._unsynced_since_ms or now_ms)
        for proposal in group.proposals:
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
        return _Group(accepted, drafts, staging.published, expired, fired)

    def _must_sync(self, now_ms: int, *, writes: bool) -> bool:
        if self._options.fsync != "periodic":
            return writes
        since = self._unsynced_since_ms
        return since is not None and now_ms >= since + self._options.fsync_interval_ms

    def _write(self, group: _Group, sync: bool, monotonic_s: Callable[[], float]) -> list[Record]:
        """The only place where the log is written. Runs in a worker thread."""
        nbytes = sum(draft.nbytes for draft in group.drafts)
        self._log.reserve(nbytes, emergency=not group.published)
        written = self._log.append(group.drafts)
        if written:
            self._counters.group_bytes.add(nbytes)
        if sync:
            self._disk.sync(monotonic_s)
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
            self._queue.extendleft(reversed(kept))
            await trio.sleep(_FULL_DISK_PAUSE_S)

    def _apply(self, group: _Group, written: Sequence[Record]) -> None:
        """Move the state past what is now in the log."""
        published = iter(group.published)
        for record in written:
            value: Stored | Fired | None = None
            if record.kind == Kind.PUBLISH:
                value = next(published)._replace(published_ms=record.ts_ms)
            elif record.kind == Kind.FIRE:
                value = Fired(group.fired, record.position)
            if value is not None:
                self._reader.remember(value, len(record.body))
            self._state.apply(record, value)
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


def _sheddable_bytes(proposal: Proposal) -> int:
    return proposal.nbytes if proposal.sheddable else 0

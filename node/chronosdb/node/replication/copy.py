"""One copy of a partition on this node: who it is now, and how it becomes something else.

It follows until the metadata say that this node leads, then leads until it hears of a newer epoch, then is
opened anew as a follower, with what is on disk and nothing else. No epoch is led twice: not after a
restart either, for what was sent in it may not have been on this disk yet.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import trio

from chronosdb.node.environment import Threads
from chronosdb.node.partition.opening import OpenCopy, OpenPartition
from chronosdb.node.partition.partition import Partition
from chronosdb.node.replication.assignment import Assignment, Propose
from chronosdb.node.replication.fences import Fences
from chronosdb.node.replication.follower import Follower
from chronosdb.node.replication.insync import InSync
from chronosdb.node.replication.leader import Leadership, TermOwner
from chronosdb.node.replication.messages import (
    AppendAnswer,
    AppendItem,
    BeginAnswer,
    BeginItem,
    Status,
)
from chronosdb.wal import DiskFull, Log, Point

logger = logging.getLogger(__name__)

_FULL_DISK_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class CopyOwner:
    """What a copy needs of its node."""

    threads: Threads
    term: TermOwner
    propose: Propose
    lag_max_s: float
    fences: Fences
    #: Held by who changes the fences.
    promising: trio.Lock


class Copy:
    """One copy. Invariant: it either follows or leads; for moments, while it changes, neither."""

    def __init__(self, owner: CopyOwner, plan: OpenPartition, assignment: Assignment) -> None:
        identity = plan.identity
        self.identity = identity
        self.assignment = assignment
        self._owner = owner
        self._plan = plan
        self._name = f"{identity.topic}/{identity.partition}"
        self._key = identity.directory
        self._open: OpenCopy | None = None
        #: The newest epoch that it was told of.
        self._seen = assignment.epoch
        #: The last epoch that it led, or may have led before a restart.
        self._led = 0
        #: Held by who changes the log, or whether it follows or leads.
        self._lock = trio.Lock()
        self._follower: Follower | None = None
        self._leadership: Leadership | None = None
        #: Set, and replaced, when it may have to become something else, or has.
        self._changed = trio.Event()
        self._stopping = False
        self._high_watermark = 0
        #: Set when its log is closed, after `stop`.
        self.closed = trio.Event()

    # What the node wants.

    async def open(self) -> None:
        """Open the log, or make it.

        Raises:
            LogDamaged: bytes that were durable are wrong; nothing was changed.
        """
        is_new = not self._plan.env.disk.exists(self._plan.directory)
        one = self.assignment
        if is_new and one.epoch > 1 and self._owner.term.me in one.isr:
            # It counts for what is committed, and has nothing: it was lost, or was never here.
            await self._mark_part(is_part=True)
        self._follow_from(await self._owner.threads.run(self._plan.open_copy), 0)
        if not is_new:
            # Whoever was elected had promised before. The metadata known here may be old.
            self._led = self.floor

    async def run(self) -> None:
        """Follow and lead, until stopped; the log is closed then.

        Raises:
            LogFailed: the disk failed.
            CommittedLost: the leader lacks what was committed.
        """
        while not self._stopping:
            if self._may_lead:
                await self._lead()
            else:
                await self._follow()
        await self._close()

    def assign(self, assignment: Assignment) -> None:
        """The metadata have changed."""
        if assignment.version < self.assignment.version:
            return
        self.assignment = assignment
        term = self._leadership
        if term is not None:
            if (assignment.leader, assignment.epoch) == (self._owner.term.me, term.epoch):
                term.assign(assignment)
            else:
                self._depose(f"epoch {assignment.epoch} is led by {assignment.leader or 'nobody'}")
        self.see(assignment.epoch)

    def stop(self) -> None:
        """Finish what is queued, save the views, and let `run` return."""
        self._stopping = True
        if self._leadership is not None:
            self._leadership.stop()
        self._change()

    def drop(self) -> None:
        """Let `run` return at once: there may be nobody left to commit with."""
        self._stopping = True
        if self._leadership is not None:
            self._depose("it is not held here any more")
        self._change()

    @property
    def partition(self) -> Partition | None:
        """The partition, while this node serves it."""
        return None if self._leadership is None else self._leadership.partition

    @property
    def leadership(self) -> Leadership | None:
        """The term, while this node leads, if it does not serve yet."""
        return self._leadership

    @property
    def floor(self) -> int:
        """Leaders of epochs below this are refused. Invariant: never falls."""
        known = 0 if self._open is None else self._open.epochs.last
        return max(self._seen, known, self._owner.fences.epoch(self._key))

    @property
    def log(self) -> Log | None:
        """The log; None while it is being opened."""
        return None if self._open is None else self._open.log

    @property
    def high_watermark(self) -> int:
        """Below this everything is known to be committed. Invariant: never falls."""
        role = self._leadership or self._follower
        if role is not None:
            self._high_watermark = max(self._high_watermark, role.high_watermark)
        return self._high_watermark

    # What other nodes want.

    def see(self, epoch: int) -> None:
        """There is, or may be, a leader of this epoch: older ones are refused from now on."""
        self._seen = max(self._seen, epoch)
        if self._leadership is not None and self._leadership.epoch < epoch:
            self._depose(f"there is epoch {epoch}")
        one = self.assignment
        if one.leader == self._owner.term.me and one.epoch < self.floor:
            # Should nobody lead in the newer epoch, somebody must be elected again.
            lease, identity = self._owner.term.lease, self.identity
            lease.refused(identity.topic_id, identity.partition, one.epoch)
        self._change()

    async def begin(self, item: BeginItem) -> BeginAnswer:
        """See `Follower.begin`."""
        if item.epoch < self.floor:
            return BeginAnswer(Status.STALE, self.floor)
        self.see(item.epoch)
        async with self._lock:
            if item.epoch < self.floor:
                return BeginAnswer(Status.STALE, self.floor)
            if self._follower is None:
                return BeginAnswer(Status.AGAIN, self.floor)
            return self._follower.begin(item.epoch)

    async def append(self, item: AppendItem) -> AppendAnswer:
        """See `Follower.append`."""
        async with self._lock:
            if item.epoch < self.floor:
                return AppendAnswer(Status.STALE, self.floor)
            if self._follower is None:
                return AppendAnswer(Status.AGAIN, self.floor)
            answer = await self._follower.append(item)
            if self._follower.is_whole and self._owner.fences.is_part(self._key):
                await self._mark_part(is_part=False)
            if self._follower.reset_at is not None:
                self._change()
            return answer

    async def standing(self, epoch: int) -> tuple[int, int] | None:
        """The epoch of the last record, and the end of what is durable; leaders below `epoch` are refused.

        None: this copy is no witness for what was committed.
        """
        if self._owner.fences.is_part(self._key):
            return None
        while self._leadership is not None and self._leadership.epoch < epoch:
            await self._changed.wait()
        async with self._lock:
            if self._open is None or self._stopping:
                return None
            periodic = self._plan.options.fsync == "periodic"
            log = self._open.log
            return self._open.epochs.last, log.end_lsn if periodic else log.synced_lsn

    # How it becomes what.

    @property
    def _may_lead(self) -> bool:
        one = self.assignment
        is_mine = one.leader == self._owner.term.me
        return is_mine and one.epoch > self._led and one.epoch >= self.floor

    def _depose(self, why: str) -> None:
        assert self._leadership is not None
        self._leadership.depose(why)

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _follow(self) -> None:
        """Until it is to lead, to stop, or to begin anew."""
        follower = self._follower
        assert follower is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.run)
            while not (self._stopping or self._may_lead or follower.reset_at):
                await self._changed.wait()
            nursery.cancel_scope.cancel()
        if follower.reset_at is not None and not self._stopping:
            await self._begin_anew(follower, follower.reset_at)

    async def _begin_anew(self, follower: Follower, start: Point) -> None:
        """Forget the log, and follow with an empty one that begins elsewhere.

        Without the space for that, what there is stays; the leader will ask again.
        """
        assert self._open is not None
        logger.warning(
            "%s: this copy ends at lsn %d; its leader has nothing before %d: it is copied anew",
            self._name,
            self._open.log.end_lsn,
            start.lsn,
        )
        try:
            async with self._lock:
                await self._mark_part(is_part=True)
                await self._owner.threads.run(self._open.log.reset, start)
                known_lsn = max(self.high_watermark, start.lsn)
                self._follower = None
                await self._owner.threads.run(self._open.log.close)
                opened = await self._owner.threads.run(self._plan.open_copy)
                self._follow_from(opened, known_lsn)
        except DiskFull as error:
            logger.warning("%s: %s", self._name, error)
            follower.reset_at = None
            await trio.sleep(_FULL_DISK_PAUSE_S)

    async def _lead(self) -> None:
        """Until it is deposed, or to stop."""
        async with self._lock:
            # What came in while this waited may have changed everything.
            if not self._may_lead or self._stopping:
                return
            assert self._follower is not None
            assert self._open is not None
            known_lsn = self.high_watermark
            self._follower = None
            self._led = self.assignment.epoch
            self._leadership = term = self._term(self._open, known_lsn)
        await term.run()
        async with self._lock:
            known_lsn = self.high_watermark
            self._open = self._leadership = None
            if not self._stopping:
                opened = await self._owner.threads.run(self._plan.open_copy, known_lsn)
                self._follow_from(opened, known_lsn)
            self._change()

    def _term(self, copy: OpenCopy, known_lsn: int) -> Leadership:
        owner = self._owner
        in_sync = InSync(
            self.identity,
            self.assignment,
            me=owner.term.me,
            lag_max_s=owner.lag_max_s,
            propose=owner.propose,
            name=self._name,
        )
        return Leadership(
            owner.term, self._plan, copy, in_sync, name=self._name, high_watermark=known_lsn
        )

    def _follow_from(self, opened: OpenCopy, known_lsn: int) -> None:
        self._open = opened
        self._follower = Follower(
            self._plan,
            opened,
            name=self._name,
            lock=self._lock,
            high_watermark=max(known_lsn, opened.state.applied_lsn),
        )

    async def _mark_part(self, *, is_part: bool) -> None:
        """Note whether this copy lacks something; on a full disk that it has it all is noted later."""
        async with self._owner.promising:
            try:
                await self._owner.threads.run(self._owner.fences.mark_part, self._key, is_part)
            except DiskFull:
                if is_part:
                    raise

    async def _close(self) -> None:
        """Save the views and close the log of a follower; a leader's are by now."""
        async with self._lock:
            follower, self._follower = self._follower, None
            if follower is not None and self._open is not None:
                await follower.save()
                await self._owner.threads.run(self._open.log.close)
            self._open = None
        self.closed.set()

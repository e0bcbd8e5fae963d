"""One copy of a partition on this node: who it is now, and how it becomes something else.

It follows until the metadata say that this node leads, then leads until it hears of a newer epoch, then is
opened anew as a follower, with what is on disk and nothing else. No epoch is led twice: not after a
restart either, for what was sent in it may not have been on this disk yet.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from chronosdb.node.partition.epochs import Extent
from chronosdb.node.partition.opening import OpenCopy, OpenPartition
from chronosdb.node.partition.partition import Partition
from chronosdb.node.replication.assignment import Assignment
from chronosdb.node.replication.damaged import Trouble, mend_closed, set_aside, until_damaged
from chronosdb.node.replication.follower import CommittedLost, Follower
from chronosdb.node.replication.insync import InSync
from chronosdb.node.replication.leader import Leadership
from chronosdb.node.replication.mending import place_of
from chronosdb.node.replication.messages import (
    AppendAnswer,
    AppendItem,
    BeginAnswer,
    BeginItem,
    Status,
)
from chronosdb.node.replication.owner import CopyOwner
from chronosdb.wal import DamagedRecord, DiskFull, Log, LogDamaged, Point

logger = logging.getLogger(__name__)

#: Between two attempts.
_PAUSE_S: Final = 1.0


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
        #: What keeps it from following and leading: its log cannot be opened (then there is none), for
        #: damage or want of space, or could not be read where the term had to, or has what its leader lost.
        self._trouble: Trouble | None = None
        #: The last epoch whose leader wanted to send what this copy, in trouble, could not take.
        self._wanted_by = 0
        #: Set when its log is closed, after `stop`.
        self.closed = trio.Event()

    # What the node wants.

    async def open(self) -> None:
        """Open the log, or make it; later, if it is damaged or the disk is full."""
        is_new = not self._plan.env.disk.exists(self._plan.directory)
        was_lost = is_new and self._owner.fences.was_held(self._key)
        try:
            if was_lost and self._owner.term.me in self.assignment.isr:
                await self._mark_part(is_part=True)  # what it counts for may be gone
            await self._open_log(0)
            await self._owner.note_held(self._key)
        except DiskFull as error:
            await self._shut()
            self._trouble = error
        if not is_new:
            # Whoever was elected had promised before. The metadata known here may be old.
            self._led = self.floor

    async def run(self) -> None:
        """Follow and lead, until stopped; the log is closed then.

        Raises:
            LogFailed: the disk failed.
        """
        while not self._stopping:
            if self._trouble is not None:
                await self._mend(self._trouble)
            elif self._may_lead:
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
        elif assignment.epoch <= self._led:
            # It had promised this epoch before it was restarted, and was elected in it only now.
            self._call_election()
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
    def opened(self) -> OpenCopy | None:
        """The log and what is known from it; None while it is being opened, or cannot be."""
        return self._open

    @property
    def is_damaged(self) -> bool:
        """Whether it waits to be mended, or copied anew."""
        return self._trouble is not None and not isinstance(self._trouble, DiskFull)

    @property
    def high_watermark(self) -> int:
        """Below this everything is known to be committed. Invariant: falls only with all the log."""
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
        if self.assignment.epoch < self.floor:
            # Should nobody lead in the newer epoch, somebody must be elected again.
            self._call_election()
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
                self._wanted_by = item.epoch
                return BeginAnswer(Status.AGAIN, self.floor)
            return self._follower.begin(item.epoch)

    async def append(self, item: AppendItem) -> AppendAnswer:
        """See `Follower.append`."""
        async with self._lock:
            if item.epoch < self.floor:
                return AppendAnswer(Status.STALE, self.floor)
            if self._follower is None:
                return AppendAnswer(Status.AGAIN, self.floor)
            try:
                answer = await self._follower.append(item)
            except CommittedLost as error:
                self._follower.end_session()
                self._trouble, self._wanted_by = error, item.epoch
                self._change()
                return AppendAnswer(Status.AGAIN, self.floor)
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
            if self._open is None or self._stopping or isinstance(self._trouble, DamagedRecord):
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
            nursery.start_soon(self._run, follower)
            while not (self._stopping or self._may_lead or self._trouble or follower.reset_at):
                await self._changed.wait()
            nursery.cancel_scope.cancel()
        if isinstance(self._trouble, DamagedRecord):
            async with self._lock:
                await self._shut()
        elif follower.reset_at is not None and not self._stopping:
            await self._begin_anew(follower, follower.reset_at)

    async def _run(self, follower: Follower) -> None:
        self._trouble = await until_damaged(follower)
        self._change()

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
                await self._open_log(known_lsn)
        except DiskFull as error:
            logger.warning("%s: %s", self._name, error)
            follower.reset_at = None
            await trio.sleep(_PAUSE_S)

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
                await self._open_log(known_lsn)
                self._trouble = self._trouble or term.damage
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

    async def _mend(self, trouble: Trouble) -> None:
        """Try to get out of trouble."""
        if isinstance(trouble, DiskFull):
            await self._pause()
            async with self._lock:
                await self.open()
            return
        if isinstance(trouble, CommittedLost):
            if self._wanted_by < self.floor:
                self._trouble = None  # the next leader may have it
                return
        elif await self._is_mended(trouble):
            if self.assignment.epoch <= self._led:
                self._call_election()
            return
        must_be_copied = self._open is None or isinstance(trouble, CommittedLost)
        if not (must_be_copied and await self._set_aside(trouble)):
            self._call_election()
            await self._pause()

    async def _is_mended(self, damage: LogDamaged | DamagedRecord) -> bool:
        """Whether the first record that is damaged was put right; there may be more."""
        opened = self._open
        if opened is not None:
            is_right = await self.mend_record(opened, place_of(damage))
            self._trouble = None if is_right else damage
            return is_right
        replicas = self.assignment.replicas
        if not await mend_closed(self._owner.mender, self._plan, replicas, damage, self._lock):
            return False
        async with self._lock:
            await self._open_log(self.high_watermark)
            # As after any start: whoever was elected had promised before.
            self._led = max(self._led, self.floor)
        return True

    async def mend_record(self, opened: OpenCopy, lsn: int) -> bool:
        """Whether a record that somebody could not read is right now."""
        log = opened.log
        mine = Extent(log.start_lsn, log.end_lsn, opened.epochs.reigns)
        return await self._owner.mender.mend(
            self.identity, self.assignment.replicas, log, mine, lsn=lsn, lock=self._lock
        )

    async def _set_aside(self, why: Exception) -> bool:
        """Begin with nothing, if the newest leader there is wants to send all that is committed."""
        threads = self._owner.threads
        try:
            async with self._lock:
                if self._wanted_by < self.floor:
                    return False
                await self._mark_part(is_part=True)
                await self._shut()
                aside = await threads.run(set_aside, self._plan)
                self._high_watermark = 0
                self._owner.mender.mended.set_aside += 1
                logger.error("%s: %s; set aside as %s, and copied anew", self._name, why, aside)
                await self._open_log(0)
        except DiskFull as error:
            logger.warning("%s: %s", self._name, error)
            return False
        return True

    async def _shut(self) -> None:
        """Close the log, and forget what was known from it."""
        opened, self._open, self._follower = self._open, None, None
        if opened is not None:
            await self._owner.threads.run(opened.log.close)

    def _call_election(self) -> None:
        """Should this node be said to lead, it does not: somebody must be elected again."""
        one, identity, term = self.assignment, self.identity, self._owner.term
        if one.leader == term.me:
            term.lease.refused(identity.topic_id, identity.partition, one.epoch)

    async def _pause(self) -> None:
        """A second, or until it is to stop."""
        with trio.move_on_after(_PAUSE_S):
            while not self._stopping:
                await self._changed.wait()

    async def _open_log(self, known_lsn: int) -> None:
        """Follow with what is on disk; what is damaged there has to be mended first."""
        self._open = self._follower = None
        try:
            opened = await self._owner.threads.run(self._plan.open_copy, known_lsn)
        except (LogDamaged, DamagedRecord, DiskFull) as error:
            logger.warning("%s: it cannot be opened now: %s", self._name, error)
            self._trouble = error
        else:
            self._trouble = None
            self._follow_from(opened, known_lsn)

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

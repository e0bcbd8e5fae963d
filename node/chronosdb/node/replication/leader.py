"""A term: this node leads a partition in one epoch, from its EPOCH record until it is deposed.

Nothing of the log above what was committed before is applied, and nothing is served, until a quorum has
this leader's EPOCH record: from then on no other leader can be without all that comes before it. What is
counted as committed never moves back, and never over a record of an earlier epoch alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.partition import records
from chronosdb.node.partition.acks import Deposed, unless_damaged
from chronosdb.node.partition.opening import OpenCopy, OpenPartition
from chronosdb.node.partition.partition import Partition
from chronosdb.node.replication import quorum
from chronosdb.node.replication.applying import Applier
from chronosdb.node.replication.assignment import Assignment, LeaseView
from chronosdb.node.replication.feed import Feed
from chronosdb.node.replication.insync import InSync
from chronosdb.node.replication.sender import Sender
from chronosdb.wal import DamagedRecord, DiskFull, Log
from chronosdb.wire.errors import ChronosError, NotLeader

logger = logging.getLogger(__name__)

_FULL_DISK_PAUSE_S: Final = 1.0
#: A follower has so long to become level; then the next leader has so long to be elected.
_HANDOVER_S: Final = 1.0
_LOOK_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class TermHooks:
    """Who is told of partitions that are led."""

    on_opened: Callable[[Partition], None]
    on_led: Callable[[Partition], None]
    on_deposed: Callable[[Partition], None]


@dataclass(frozen=True, slots=True)
class TermOwner:
    """What a term needs of its node."""

    me: str
    lease: LeaseView
    sender: Callable[[str], Sender]
    piece_bytes: int
    hooks: TermHooks


class Leadership:
    """One term of one partition; implements `Replication` for its committer and `Term` for its feeds."""

    def __init__(
        self,
        owner: TermOwner,
        plan: OpenPartition,
        copy: OpenCopy,
        in_sync: InSync,
        *,
        name: str,
        high_watermark: int,
    ) -> None:
        self.identity = plan.identity
        self.epoch = in_sync.assignment.epoch
        self.log: Log = copy.log
        self.epochs = copy.epochs
        self._owner = owner
        self._plan = plan
        self._copy = copy
        self._in_sync = in_sync
        self._name = name
        self._high_watermark = high_watermark
        #: The end of this term's EPOCH record; None: it is not written yet.
        self._epoch_end_lsn: int | None = None
        in_sync.on_changed = self.count
        self._feeds: dict[str, Feed] = {}
        #: Set, and replaced, when anything has moved that somebody may wait for.
        self._moved = trio.Event()
        self._error: ChronosError | None = None
        #: What ended the term, if it was that.
        self.damage: DamagedRecord | None = None
        self._partition: Partition | None = None
        self._leads = False
        self._handed_over = Signal()

    @property
    def high_watermark(self) -> int:
        """Below this everything is committed. Invariant: never falls."""
        return self._high_watermark

    @property
    def partition(self) -> Partition | None:
        """The partition, while it is served."""
        return self._partition if self._leads else None

    def lag(self) -> dict[str, int]:
        """How many bytes each follower is behind."""
        synced = self._in_sync.synced
        return {node: self.log.end_lsn - synced.get(node, 0) for node in self._feeds}

    async def run(self) -> None:
        """Lead until deposed or stopped; the log is closed then.

        Raises:
            LogFailed: the disk failed.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._in_sync.run)
            nursery.start_soon(self._take_back)
            try:
                with suppress(Deposed):
                    await unless_damaged(self, self._begin)
                    self._check()
                    await self._serve()
            finally:
                for node, feed in self._feeds.items():
                    self._owner.sender(node).remove(feed)
            await self._plan.env.threads.run(self.log.close)
            nursery.cancel_scope.cancel()

    def assign(self, assignment: Assignment) -> None:
        """The metadata say something new of this term."""
        self._in_sync.assign(assignment)
        self._feed_replicas()
        self.count()

    def depose(self, why: str) -> None:
        """Lead no more: another node may, under a newer epoch."""
        if self._error is not None:
            return
        logger.info("%s: epoch %d is over here: %s", self._name, self.epoch, why)
        self._error = NotLeader(
            f"{self._name}: this node does not lead it any more ({why}); whether what was asked is"
            " stored will be known to the next leader: ask again",
            details={"leader": ""},
        )
        self._end()
        if self._partition is not None:
            self._partition.depose(self._error)
        self._move()

    def hush(self, quiet: bool) -> None:
        """Deliver nothing while `quiet`: without a lease another node may be the leader already."""
        if self._partition is not None:
            self._partition.dispatcher.hush(quiet)

    async def hand_over(self, to: str) -> bool:
        """Let a follower become level, and write nothing more for a moment; whether it is level.

        Whoever asked has another leader elected meanwhile. Should that fail, this one goes on.
        """
        partition = self.partition
        if partition is None or to not in self._feeds:
            return False
        partition.committer.pause(True)
        is_level = False
        try:
            with trio.move_on_after(_HANDOVER_S):
                while partition.committer.is_writing or not self._in_sync.has(to, self.log.end_lsn):
                    if self._error is not None:
                        return False
                    await trio.sleep(_LOOK_S)
                is_level = True
                self._handed_over.set()
        finally:
            # Also when whoever asked, on this node, has lost patience and cancels: nobody else would lead on.
            if not is_level:
                partition.committer.pause(False)
        return is_level

    async def _take_back(self) -> None:
        """What was handed over and nobody took is led on."""
        while True:
            await self._handed_over.wait()
            await trio.sleep(_HANDOVER_S)
            if self._partition is not None:
                self._partition.committer.pause(False)

    def stop(self) -> None:
        """Finish what is queued, and let `run` return."""
        if self._partition is None:
            self.depose("the node is shutting down")
        else:
            self._partition.stop()

    def _end(self) -> None:
        """This node serves the partition no more."""
        if self._leads:
            assert self._partition is not None
            self._leads = False
            self._owner.hooks.on_deposed(self._partition)

    async def _begin(self) -> None:
        """Write the EPOCH record, see it committed, and apply all that comes before it.

        Raises:
            Deposed: another node was quicker.
        """
        begin_lsn = self.log.end_lsn
        self._in_sync.begin(begin_lsn)
        while not await self._plan.env.threads.run(self._write_epoch):
            self._check()
            await trio.sleep(_FULL_DISK_PAUSE_S)
        self.epochs.note(self.epoch, begin_lsn)
        self._epoch_end_lsn = self.log.end_lsn
        logger.info("%s: epoch %d begins here, at lsn %d", self._name, self.epoch, begin_lsn)
        self._feed_replicas()
        self.appended()
        await self._plan.env.threads.run(self.log.sync)
        self.synced()
        await self.committed(self._epoch_end_lsn)
        applier = Applier(self._plan.env.threads, self._copy)
        await applier.apply_up_to(self._epoch_end_lsn)
        self._check()

    def _write_epoch(self) -> bool:
        """In a thread; False: the disk is full."""
        draft = records.epoch_begins(self._owner.me, self._plan.env.clock.now_ms(), self.epoch)
        try:
            self.log.reserve(draft.nbytes, emergency=True)
            self.log.append([draft])
        except DiskFull:
            return False
        return True

    async def _serve(self) -> None:
        """Be the partition's leader, for all to see."""
        self._partition = partition = self._plan.serve(self._copy, self)
        partition.dispatcher.hush(not self._owner.lease.held)
        self._owner.hooks.on_opened(partition)
        async with trio.open_nursery() as nursery:
            await nursery.start(partition.serve)
            if self._error is None:
                self._leads = True
                logger.info("%s: served here from lsn %d", self._name, self.log.end_lsn)
                self._owner.hooks.on_led(partition)
        self._end()

    def _check(self) -> None:
        """Raises Deposed."""
        if self._error is not None:
            raise Deposed(self._error)

    # What its committer wants.

    def appended(self) -> None:
        """See `Replication.appended`."""
        now_s = trio.current_time()
        for node, feed in self._feeds.items():
            self._in_sync.grew(node, now_s)
            self._owner.sender(node).wake(feed)

    def synced(self) -> None:
        """See `Replication.synced`."""
        periodic = self._plan.options.fsync == "periodic"
        lsn = self.log.end_lsn if periodic else self.log.synced_lsn
        self._in_sync.reached(self._owner.me, lsn)
        self.count()

    async def committed(self, lsn: int) -> None:
        """See `Replication.committed`."""
        while self._high_watermark < lsn:
            self._check()
            await self._moved.wait()

    async def everywhere(self, lsn: int) -> None:
        """See `Replication.everywhere`."""
        while quorum.everywhere(self._in_sync.isrs, self._in_sync.synced) < lsn:
            self._check()
            await self._moved.wait()

    def damaged(self, error: DamagedRecord) -> None:
        """See `Replication.damaged`."""
        self.damage = error
        self.depose(f"its log is damaged here: {error}")

    # What its followers say.

    def counts(self, node: str) -> bool:
        """See `Term.counts`."""
        return node in self._in_sync.assignment.isr

    def reached(self, node: str, lsn: int, sent_lsn: int, sent_s: float) -> None:
        """See `Term.reached`."""
        is_level = lsn >= self.log.end_lsn
        self._in_sync.reached(node, lsn)
        self._in_sync.was_level(node, None if is_level else sent_s if lsn >= sent_lsn else 0.0)
        self.count()

    def refused(self, epoch: int) -> None:
        """See `Term.refused`."""
        identity = self.identity
        self._owner.lease.refused(identity.topic_id, identity.partition, self.epoch)
        self.depose(f"a replica was promised to epoch {epoch}")

    def count(self) -> None:
        """Look what is committed by now."""
        if self._error is not None or self._epoch_end_lsn is None:
            return
        lsn = quorum.watermark(self._in_sync.isrs, self._in_sync.synced, self._owner.me)
        # Records of earlier epochs are committed by one of this epoch only: a log that ends with theirs
        # may still be overruled by one that ends with another, newer epoch's.
        if lsn >= self._epoch_end_lsn and lsn > self._high_watermark:
            self._high_watermark = self._in_sync.high_watermark = lsn
            for node, feed in self._feeds.items():
                self._owner.sender(node).linger(feed)
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    def _feed_replicas(self) -> None:
        """Have a feed for each follower that there is to be."""
        wanted = [n for n in self._in_sync.assignment.replicas if n != self._owner.me]
        for node in [node for node in self._feeds if node not in wanted]:
            self._owner.sender(node).remove(self._feeds.pop(node))
            self._in_sync.gone(node)
        if self._epoch_end_lsn is None or self._error is not None:
            return
        for node in wanted:
            if node not in self._feeds:
                self._feeds[node] = Feed(self, node, self._owner.piece_bytes)
                self._in_sync.grew(node, trio.current_time())
                self._owner.sender(node).add(self._feeds[node])
        self._in_sync.streams = lambda node: node in self._feeds and self._feeds[node].streams

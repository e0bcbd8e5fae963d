"""A copy that follows: takes what the leader sends, has it on disk, and applies what is committed.

The leader of a newer epoch begins with it: they find out up to where their logs agree, and the first
append after that takes back whatever else this one has. A beginning has a number, its *session*, so that
an append that was on its way since before can do nothing. One step at a time: who acts holds a lock.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.partition.carried import CarriedIndex
from chronosdb.node.partition.checkpointer import Checkpointer
from chronosdb.node.partition.counters import Counters
from chronosdb.node.partition.opening import OpenCopy, OpenPartition
from chronosdb.node.partition.prefix import Gone, what_goes
from chronosdb.node.replication.applying import Applier
from chronosdb.node.replication.messages import (
    REIGNS_MAX,
    AppendAnswer,
    AppendItem,
    BeginAnswer,
    PlainPoint,
    Status,
)
from chronosdb.wal import BadCopy, DamagedRecord, DiskFull, Log, Point, Record, TooLarge

logger = logging.getLogger(__name__)

_SESSION_BITS: Final = 62
#: Before what was damaged is read again.
_DAMAGE_PAUSE_S: Final = 1.0


class CommittedLost(Exception):
    """The leader lacks what this copy knows to be committed."""


class Follower:
    """One copy, while another node leads, or nobody does."""

    def __init__(
        self,
        plan: OpenPartition,
        copy: OpenCopy,
        *,
        name: str,
        lock: trio.Lock,
        high_watermark: int,
    ) -> None:
        self._plan = plan
        self._env = plan.env
        self._copy = copy
        self._name = name
        self._applier = Applier(self._env.threads, copy)
        self._checkpointer = Checkpointer(
            self._env,
            copy.state,
            nbytes=plan.options.checkpoint_bytes,
            interval_ms=plan.options.checkpoint_interval_ms,
            has_space=copy.log.has_space,
            timings=Counters().checkpoint_s,
        )
        self._checkpointer.before = self._tidy
        #: Held by who changes the log.
        self._lock = lock
        #: The number of the last beginning; 0: no append is taken.
        self._session = 0
        #: Pieces of a record that is too large for one append.
        self._pieces: list[bytes] = []
        #: Whether the end of the log is known to be the leader's too.
        self._agreed = False
        #: Invariant: never falls; everything below it is committed, and in this log.
        self.high_watermark = high_watermark
        #: Where the leader's log begins.
        self._leader_start_lsn = 0
        self._news = Signal()
        self._news.set()
        #: Where the log is to begin anew, with nothing in it.
        self.reset_at: Point | None = None
        #: Whether it has had all that was committed at some time since it was opened.
        self.is_whole = False

    async def run(self) -> None:
        """Apply what is committed and save the views, until cancelled.

        Raises:
            DamagedRecord: in a group; a checkpoint was not finished, so this state can have no other.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._checkpointer.run)
            while True:
                try:
                    await self._apply()
                except DamagedRecord as error:
                    # Whoever looks after damage has it mended; then it can be read.
                    logger.warning("%s: it waits until this is mended: %s", self._name, error)
                await trio.sleep(_DAMAGE_PAUSE_S)
                self._news.set()

    async def _apply(self) -> None:
        """Raises DamagedRecord: what is committed cannot be read."""
        while True:
            await self._news.wait()
            # What is under way may be finished: what is cancelled here begins elsewhere.
            await self._applier.apply_up_to(self.high_watermark)
            self._checkpointer.changed()
            await self._drop_segments()

    async def save(self) -> None:
        """Save the views."""
        if self._copy.log.has_space():
            with suppress(DamagedRecord):  # the next start finds it, too
                await self._checkpointer.save()

    def begin(self, epoch: int) -> BeginAnswer:
        """A leader of `epoch`, the newest there is, begins; the caller holds the lock."""
        log = self._copy.log
        # Never again the number of an earlier one, also not of one before a restart.
        self._session = self._env.random.getrandbits(_SESSION_BITS) + 1
        self._pieces.clear()
        self._agreed = False
        reigns = [(reign.epoch, reign.lsn) for reign in self._copy.epochs.reigns[-REIGNS_MAX:]]
        return BeginAnswer(Status.OK, epoch, self._session, log.start_lsn, log.end_lsn, reigns)

    def end_session(self) -> None:
        """Take no append before another beginning."""
        self._session = 0

    async def append(self, item: AppendItem) -> AppendAnswer:
        """Records, or news; the caller holds the lock, and has looked at the epoch.

        Raises:
            CommittedLost: the leader would take back what is committed.
            LogFailed: the disk failed.
        """
        if item.session != self._session:
            return AppendAnswer(Status.AGAIN, item.epoch)
        log = self._copy.log
        try:
            status = await self._follow(item)
        except DiskFull:
            status = Status.FULL
        except (BadCopy, TooLarge, DamagedRecord) as error:
            status = self._misfit(str(error))
        return AppendAnswer(status, item.epoch, log.end_lsn)

    async def _follow(self, item: AppendItem) -> Status:
        log = self._copy.log
        if not self._agreed:
            self._check_committed(item)
            if item.reset is not None:
                return self._begin_anew(item.reset)
            await self._cut(item)
            self._agreed = True
        if item.lsn != log.end_lsn:
            return self._misfit(f"they begin at lsn {item.lsn}, not {log.end_lsn}")
        if not await self._take(item):
            return Status.FULL
        self._learn(item)
        return Status.OK

    def _begin_anew(self, plain: PlainPoint) -> Status:
        """The leader has lost what this log would need next: one that begins where the leader's does."""
        self.end_session()
        self.reset_at = Point(plain.lsn, plain.offset, plain.position, plain.ts_ms)
        return Status.AGAIN

    def _misfit(self, why: str) -> Status:
        logger.warning("%s: records from its leader do not fit here: %s", self._name, why)
        self.end_session()
        return Status.AGAIN

    def _check_committed(self, item: AppendItem) -> None:
        """That the leader has what is committed."""
        if item.lsn < self.high_watermark:
            raise CommittedLost(
                f"{self._name}: the leader of epoch {item.epoch} shares this copy's log only up to"
                f" lsn {item.lsn}, but everything up to {self.high_watermark} was committed: a replica"
                " was elected that was not in sync, or power cuts met fsync = periodic"
            )

    async def _cut(self, item: AppendItem) -> None:
        """Take back what the leader does not have."""
        log = self._copy.log
        if item.lsn < log.end_lsn:
            logger.info(
                "%s: cut back from lsn %d to %d, where it left the log of epoch %d",
                self._name,
                log.end_lsn,
                item.lsn,
                item.epoch,
            )
            await self._env.threads.run(log.truncate, item.lsn)
            self._copy.epochs.truncate(item.lsn)
            self._applier.forget()

    async def _take(self, item: AppendItem) -> bool:
        """Write the records and sync them; False if there was not space for all."""
        self._pieces.append(item.raw)
        if not item.whole:
            return True
        raw = b"".join(self._pieces)
        self._pieces.clear()
        if not raw:
            return True
        sync = self._plan.options.fsync != "periodic"
        records = await self._env.threads.run(_write, self._copy.log, raw, sync)
        for record in records:
            self._copy.epochs.note(record.epoch, record.lsn)
        self._applier.written(records)
        return bool(records) and records[-1].next_lsn == item.lsn + len(raw)

    def _learn(self, item: AppendItem) -> None:
        """What of this log is committed, and may go."""
        self._leader_start_lsn = item.start_lsn
        committed = min(item.high_watermark, self._copy.log.end_lsn)
        if committed == item.high_watermark:
            self.is_whole = True
        if committed > self.high_watermark:
            self.high_watermark = committed
            self._news.set()

    async def _drop_segments(self) -> None:
        """Let go what the leader has let go, and no checkpoint needs."""
        log, state = self._copy.log, self._copy.state
        limit_lsn = min(self._leader_start_lsn, state.saved_lsn)
        ends = [segment.end.lsn for segment in log.segments()[:-1] if segment.end.lsn <= limit_lsn]
        if not ends:
            return
        lsn = ends[-1]
        gone = await self._env.threads.run(what_goes, log, lsn)
        async with self._checkpointer.saving, self._lock:
            try:
                await self._env.threads.run(_drop, log, state.carried, gone, lsn)
            except DiskFull:
                return
        for offsets in gone.cancels:
            state.timers.cancelled.discard_many(offsets)
        start = log.segments()[0].start
        self._copy.epochs.begin_at(start.lsn)
        state.first_position = max(state.first_position, start.position)

    def _tidy(self) -> None:
        """What a leader does all the time."""
        state = self._copy.state
        state.timers.sweep(self._env.clock.now_ms())
        state.slide_window(state.applied_ms, self._plan.options.dedup_window_ms)


def _drop(log: Log, carried: CarriedIndex, gone: Gone, lsn: int) -> None:
    carried.forget(gone.carries)
    log.drop_before(lsn)


def _write(log: Log, raw: bytes, sync: bool) -> list[Record]:
    records = log.copy(raw)
    if sync:
        log.sync()
    return records

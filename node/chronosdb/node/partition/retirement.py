"""Retirement: deletes the oldest segments of a partition's log, after carrying forward what is alive.

In this order, so that a crash anywhere between leaves a log that says everything: events that are pending,
or that fired later, are stored again (CARRY); the groups are written down (GROUPS); then the segments go. The
views are saved before, only so that the next start need not compute them anew from what is left. What was
begun and not finished is begun anew, and costs no more than its space.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from chronosdb.node.environment import Threads
from chronosdb.node.partition.carry import BYTES_MAX, Load
from chronosdb.node.partition.committer import Committer
from chronosdb.node.partition.counters import Counters
from chronosdb.node.partition.prefix import Prefix
from chronosdb.node.partition.proposals import Outcome
from chronosdb.node.partition.restating import CarryProposal, GroupsProposal, settled
from chronosdb.node.partition.staging import Proposal
from chronosdb.node.partition.state import PartitionState
from chronosdb.node.reply import Reply
from chronosdb.wal import DamagedRecord, Log, Point, SegmentInfo
from chronosdb.wire.errors import ChronosError, Conflict, Overloaded

logger = logging.getLogger(__name__)

#: About as much is read and carried before it is deleted.
_PASS_BYTES: Final = 1024 * 1024 * 1024
#: Between two steps of reading, and between two records that are carried: publishers go first.
_PAUSE_S: Final = 0.004
#: The window that the committer uses is looked up once a second.
_WINDOW_SLACK_MS: Final = 2000
_END: Final = object()


@dataclass(frozen=True, slots=True)
class RetentionLimits:
    """How much of a partition's past is kept; 0: all of it."""

    #: After this time a segment may go; never before the dedup window is over.
    ms: int = 0
    #: The oldest segments may go while the log is larger.
    nbytes: int = 0
    #: A group without which nothing goes: it may begin later, and must find everything then.
    keeper: str | None = None

    def __bool__(self) -> bool:
        return bool(self.ms or self.nbytes)


#: Nothing is ever deleted.
FOR_EVER: Final = RetentionLimits()


def may_go(
    segments: Sequence[SegmentInfo],
    limits: RetentionLimits,
    now_ms: int,
    *,
    window_lsn: int,
    position: int,
) -> Sequence[SegmentInfo]:
    """The oldest segments that nothing needs: below the dedup window, and below `position`."""
    total = segments[-1].end.lsn - segments[0].start.lsn
    for count, segment in enumerate(segments[:-1]):
        is_old = limits.ms and segment.end.ts_ms <= now_ms - limits.ms
        is_too_much = limits.nbytes and total > limits.nbytes
        is_needed = segment.end.lsn > window_lsn or segment.end.position > position
        if is_needed or not (is_old or is_too_much):
            return segments[:count]
        total -= segment.nbytes
    return segments[:-1]


class Retirement:
    """One partition's."""

    def __init__(
        self,
        threads: Threads,
        log: Log,
        state: PartitionState,
        committer: Committer,
        *,
        counters: Counters,
        limits: RetentionLimits,
        window_ms: int,
        record_bytes: int,
        name: str,
    ) -> None:
        self._threads = threads
        self._log = log
        self._state = state
        self._committer = committer
        self._counters = counters
        self.limits = limits
        self._window_ms = window_ms
        self._record_bytes = record_bytes
        self._name = name
        self._stopping = False
        #: Held during a pass: the log must not be closed under it.
        self.passing = trio.Lock()

    @property
    def patience_ms(self) -> int:
        """Nothing is deleted before this time has passed since it was written."""
        return max(self.limits.ms, self._window_ms)

    def stop(self) -> None:
        """Let a pass end at its next step."""
        self._stopping = True

    async def run(self, now_ms: int) -> None:
        """Delete what may go now. What is refused on the way is tried again another time."""
        async with self.passing:
            # The log is closed by whoever holds this next, when the partition is stopping.
            gone = () if self._stopping else self._may_go(now_ms)
            try:
                while gone:
                    some = _share(gone)
                    await self._retire(some)
                    gone = gone[len(some) :]
            except (ChronosError, DamagedRecord) as error:
                if not self._stopping:
                    logger.info("%s: old segments stay for now: %s", self._name, error)

    def _may_go(self, now_ms: int) -> Sequence[SegmentInfo]:
        segments = self._log.segments()
        keeper = self.limits.keeper
        if len(segments) == 1 or (keeper is not None and keeper not in self._state.groups):
            return ()
        log_ms = max(now_ms, self._log.last_ts_ms) - _WINDOW_SLACK_MS
        window = self._state.window_at(log_ms, self._window_ms)
        position = settled(self._state)
        return may_go(segments, self.limits, now_ms, window_lsn=window.lsn, position=position)

    async def _retire(self, gone: Sequence[SegmentInfo]) -> None:
        cut = gone[-1].end
        cancelled = self._state.timers.cancelled.between(0, cut.offset)
        prefix = Prefix(
            self._log, cut.lsn, cancelled, load_bytes=min(BYTES_MAX, self._record_bytes // 2)
        )
        carried = await self._carry(prefix)
        await self._write(partial(GroupsProposal, cut, self._window_ms, self._record_bytes))
        await self._save(cut, prefix)
        await self._committer.drop_before(cut.lsn)
        # As in views that are computed from what the log still says.
        for offsets in prefix.cancels:
            self._state.timers.cancelled.discard_many(offsets)
        nbytes = cut.lsn - gone[0].start.lsn
        self._counters.dropped_bytes += nbytes
        logger.info(
            "%s: %d segments with %d bytes were deleted; the log begins at offset %d, %d events"
            " before it were carried forward",
            self._name,
            len(gone),
            nbytes,
            cut.offset,
            carried,
        )

    async def _carry(self, prefix: Prefix) -> int:
        """Store again what is alive; how many events."""
        carried = 0
        steps = prefix.loads()
        while (step := await self._threads.run(next, steps, _END)) is not _END:
            if self._stopping:
                raise Overloaded("the node is shutting down")
            if isinstance(step, Load):
                # What was as large as a batch may be is a little larger now.
                if step.nbytes > self._record_bytes + self._record_bytes // 4:
                    raise Conflict(
                        f"an event of {step.nbytes} bytes is too large for segments of this size:"
                        " raise segment_bytes to what it was when that was stored"
                    )
                await self._write(partial(CarryProposal, step))
                carried += len(step.offsets)
            await trio.sleep(_PAUSE_S)
        return carried

    async def _write(self, proposal: Callable[[Outcome], Proposal]) -> None:
        """Have something written; returns when it is on disk."""
        reply = Reply[ChronosError | None]()
        self._committer.submit(proposal(reply.set))
        error = await reply.get()
        if error is not None:
            raise error

    async def _save(self, cut: Point, prefix: Prefix) -> None:
        """See to it that the views in the store do without what is before `cut`.

        On a full disk those of an older checkpoint will do; some rows then stay that mean nothing.
        """
        if self._committer.has_space():
            await self._committer.save_views()
            await self._threads.run(self._state.carried.forget, prefix.carries)
        elif self._state.saved_lsn < cut.lsn:
            raise Overloaded("there is no disk space for saving the views")


def _share(segments: Sequence[SegmentInfo]) -> Sequence[SegmentInfo]:
    """The first of them, at least one and about _PASS_BYTES."""
    limit = segments[0].start.lsn + _PASS_BYTES
    return [s for i, s in enumerate(segments) if i == 0 or s.end.lsn <= limit]

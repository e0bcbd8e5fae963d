"""What one follower of one partition is sent: where it is, and what comes next.

It begins by finding out what the follower has; then it streams, one append at a time. Whatever goes
wrong, it begins again.
"""

from __future__ import annotations

from typing import Final, Protocol

from chronosdb.node.environment import Threads
from chronosdb.node.partition.epochs import EpochHistory, Extent, agreement
from chronosdb.node.partition.partition import PartitionId
from chronosdb.node.replication.messages import (
    AppendAnswer,
    AppendItem,
    BeginAnswer,
    BeginItem,
    PlainPoint,
    Status,
)
from chronosdb.wal import Log, LogClosed, OutOfRange

#: So far back from its end a log is in memory: reading there does not wait for the disk.
_HOT_BYTES: Final = 4 * 1024 * 1024
#: Before it is tried again.
_PAUSE_MIN_S: Final = 0.02
_PAUSE_MAX_S: Final = 1.0


class Term(Protocol):
    """A leader's term, as its feeds see it."""

    identity: PartitionId
    epoch: int
    log: Log
    epochs: EpochHistory

    @property
    def high_watermark(self) -> int:
        """Below this everything is committed."""
        ...

    def counts(self, node: str) -> bool:
        """Whether a follower is in the ISR."""
        ...

    def reached(self, node: str, lsn: int, sent_lsn: int, sent_s: float) -> None:
        """A follower has synced everything below `lsn`; at `sent_s` the log ended at `sent_lsn`."""
        ...

    def refused(self, epoch: int) -> None:
        """A follower knows of a newer epoch."""
        ...


class Feed:
    """One follower's."""

    def __init__(self, term: Term, node: str, piece_bytes: int) -> None:
        self._term = term
        self.node = node
        self._piece_bytes = piece_bytes
        #: The term ended, or the follower is none any more.
        self.over = False
        #: A call about it is under way.
        self.busy = False
        #: When the sender is to look at it again; None: only if it is woken.
        self.due_s: float | None = None
        #: None: it has to begin.
        self._session: int | None = None
        self._next_lsn = 0
        self._reset: PlainPoint | None = None
        #: What is left of a record that is sent in pieces.
        self._rest = b""
        #: What it knows to be committed; -1: it has to be sent something before it counts.
        self._told_lsn = -1
        self._pause_s = _PAUSE_MIN_S

    @property
    def name(self) -> str:
        """Of the partition, for people."""
        return f"{self._term.identity.topic}/{self._term.identity.partition}"

    @property
    def streams(self) -> bool:
        """Whether the follower is known to follow."""
        return self._session is not None and self._reset is None

    @property
    def must_begin(self) -> bool:
        """Whether it is to be asked first what it has."""
        return self._session is None

    @property
    def end_lsn(self) -> int:
        """Where the log ends."""
        return self._term.log.end_lsn

    @property
    def counts(self) -> bool:
        """Whether what is committed may have to wait for it."""
        return self._term.counts(self.node)

    @property
    def backlog(self) -> int:
        """How many bytes it has not been sent."""
        return self._term.log.end_lsn - self._next_lsn

    @property
    def has_news(self) -> bool:
        """Whether there is something that it does not know, if only what is committed."""
        return self._session is None or self.backlog > 0 or self.is_behind

    @property
    def is_behind(self) -> bool:
        """Whether it has to be told what is committed."""
        return self._told_lsn < self._term.high_watermark

    def begin_item(self) -> BeginItem:
        """The question what it has."""
        identity = self._term.identity
        return BeginItem(identity.topic_id, identity.partition, self._term.epoch)

    def begun(self, answer: BeginAnswer) -> None:
        """It has answered that."""
        if answer.status is Status.STALE:
            self._term.refused(answer.epoch)
        if answer.status is not Status.OK:
            self.failed()
            return
        log = self._term.log
        mine = Extent(log.start_lsn, log.end_lsn, self._term.epochs.reigns)
        lsn = agreement(mine, Extent(answer.start_lsn, answer.end_lsn, answer.reigns))
        start = log.segments()[0].start
        self._reset = None
        if lsn is None or lsn < start.lsn:
            lsn = start.lsn
            self._reset = PlainPoint(start.lsn, start.offset, start.position, start.ts_ms)
        self._session, self._next_lsn = answer.session, lsn
        self._rest = b""
        self._told_lsn = -1

    async def append_item(self, max_bytes: int, threads: Threads) -> AppendItem | None:
        """What it is sent next; None: it has to begin anew.

        Raises:
            DamagedRecord: what it needs next cannot be read here.
        """
        assert self._session is not None
        raw = self._rest
        if not raw and self._reset is None and self.backlog > 0:
            try:
                raw = await self._read(max_bytes, threads)
            except (OutOfRange, LogClosed):  # it was deleted just now, or the term ended
                self.failed()
                return None
        piece, self._rest = raw[: self._piece_bytes], raw[self._piece_bytes :]
        identity, term = self._term.identity, self._term
        return AppendItem(
            identity.topic_id,
            identity.partition,
            term.epoch,
            self._session,
            self._next_lsn,
            term.high_watermark,
            term.log.start_lsn,
            self._reset,
            not self._rest,
            piece,
        )

    def appended(
        self, item: AppendItem, answer: AppendAnswer, sent_lsn: int, sent_s: float
    ) -> None:
        """It has answered; when it was sent, the log ended at `sent_lsn`."""
        if answer.status is Status.STALE:
            self._term.refused(answer.epoch)
        if answer.status is not Status.OK:
            self.failed()
            return
        self._pause_s = _PAUSE_MIN_S
        if item.whole:
            self._next_lsn = answer.end_lsn
            self._told_lsn = item.high_watermark
            self._term.reached(self.node, answer.end_lsn, sent_lsn, sent_s)

    def failed(self) -> None:
        """Nobody knows what it has now: begin again, after a while."""
        self._session = None
        self._rest = b""

    def pause_s(self) -> float:
        """How long to wait after something failed: longer each time."""
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _PAUSE_MAX_S)
        return pause_s

    async def _read(self, max_bytes: int, threads: Threads) -> bytes:
        log = self._term.log
        if self.backlog <= _HOT_BYTES:
            return log.raw(self._next_lsn, max_bytes)
        return await threads.run(log.raw, self._next_lsn, max_bytes)

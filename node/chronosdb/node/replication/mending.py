"""Damaged records, put right with the bytes of another copy.

Two logs are equal up to where their epochs say so (`epochs.agreement`), and whatever is committed is equal
everywhere. So another copy's record is believed if both logs agree up to its end; or, where this log cannot be
read behind the damage, if they agree up to its beginning and the other knows that it is committed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from chronosdb.node.environment import Threads
from chronosdb.node.partition.epochs import Extent, agreement
from chronosdb.node.partition.opening import OpenCopy
from chronosdb.node.partition.partition import PartitionId
from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.node.replication.messages import (
    REIGNS_MAX,
    BadMessage,
    RecordAnswer,
    RecordItem,
    decode,
    encode,
)
from chronosdb.wal import (
    BadCopy,
    DamagedRecord,
    Log,
    LogClosed,
    LogDamaged,
    OutOfRange,
)

logger = logging.getLogger(__name__)

#: A node that does not answer for so long is not asked any further.
_CALL_S: Final = 5.0


@dataclass(slots=True)
class Mended:
    """What became of damage on this node. Invariant: none ever falls."""

    #: Records that were put right.
    records: int = 0
    #: Copies that were set aside, to be copied anew.
    set_aside: int = 0


class Mender:
    """One node's: asks the others for what is damaged here."""

    def __init__(self, me: str, calls: Calls, threads: Threads) -> None:
        self._me = me
        self._calls = calls
        self._threads = threads
        self.mended = Mended()

    async def mend(
        self,
        identity: PartitionId,
        replicas: Sequence[str],
        log: Log,
        mine: Extent,
        *,
        lsn: int,
        lock: trio.Lock,
    ) -> bool:
        """Whether the record at `lsn` is right now; `mine` is what is known of this log.

        Whoever takes records back holds the lock.

        Raises:
            LogFailed: the disk failed.
        """
        name = f"{identity.topic}/{identity.partition}"
        for node in replicas:
            if node == self._me:
                continue
            raw = await self._ask(node, identity, mine, lsn)
            if not raw:
                continue
            try:
                async with lock:
                    was_damaged = await self._threads.run(log.repair, lsn, raw)
            except (BadCopy, OutOfRange, LogClosed) as error:
                logger.warning("%s: the copy on node %s is no help: %s", name, node, error)
                continue
            if not was_damaged:
                return True
            self.mended.records += 1
            logger.warning(
                "%s: the record at lsn %d was damaged; %d bytes were put right as node %s has them",
                name,
                lsn,
                len(raw),
                node,
            )
            return True
        return False

    async def _ask(self, node: str, identity: PartitionId, mine: Extent, lsn: int) -> bytes:
        """A node's bytes of the record, all of its pieces; empty: it cannot be believed, or has none."""
        raw = b""
        while True:
            item = RecordItem(identity.topic_id, identity.partition, lsn, len(raw))
            answer: RecordAnswer | None = None
            with trio.move_on_after(_CALL_S):
                try:
                    body = await self._calls.ask(node, "record", encode(item))
                    answer = decode(body, RecordAnswer)
                except CallFailed:
                    return b""
                except BadMessage as error:
                    logger.warning("peer %s answers record with %s", node, error)
                    return b""
            if answer is None or not answer.raw:
                return b""
            raw += answer.raw
            if answer.whole:
                return raw if vouches(answer, mine, lsn, lsn + len(raw)) else b""


def vouches(answer: RecordAnswer, mine: Extent, lsn: int, next_lsn: int) -> bool:
    """Whether a record from `lsn` to `next_lsn` in another log must be the one that belongs into this log."""
    theirs = Extent(answer.start_lsn, answer.end_lsn, answer.reigns)
    # Neither leads: what is equal is equal, whoever is asked.
    equal_lsn = agreement(theirs, mine)
    if equal_lsn is None or equal_lsn < lsn:
        return False
    return next_lsn <= max(equal_lsn, answer.high_watermark)


def extent_around(log: Log, lsn: int) -> Extent:
    """What is known for sure of a log that is damaged at `lsn`: where a reign ends in damage, too little. Blocks.

    Raises:
        DamagedRecord: the record before it cannot be read either.
        OutOfRange: the log does not reach there.
    """
    epoch, end_lsn = log.epoch_before(lsn), lsn
    reigns = [(epoch, log.start_lsn)] if epoch else []
    for record in log.sound_behind(lsn):
        if record.epoch != epoch:
            epoch = record.epoch
            reigns.append((epoch, end_lsn))
        end_lsn = record.next_lsn
    return Extent(log.start_lsn, end_lsn, reigns)


def answer_record(
    copy: OpenCopy, item: RecordItem, high_watermark: int, piece_bytes: int
) -> RecordAnswer:
    """What another node asks for; an empty piece: there is no such record, or it is damaged here too. Blocks."""
    log = copy.log
    reigns = [(reign.epoch, reign.lsn) for reign in copy.epochs.reigns[-REIGNS_MAX:]]
    try:
        raw = log.raw(item.lsn, 1)
    except (OutOfRange, DamagedRecord, LogClosed):
        raw = b""
    stop = item.skip + piece_bytes
    piece = raw[item.skip : stop]
    return RecordAnswer(log.start_lsn, log.end_lsn, reigns, high_watermark, stop >= len(raw), piece)


def place_of(damage: LogDamaged | DamagedRecord) -> int:
    """The LSN of the first record that is missing."""
    return damage.recovery.end_lsn if isinstance(damage, LogDamaged) else damage.lsn

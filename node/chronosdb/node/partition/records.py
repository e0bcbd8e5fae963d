"""What the records of a partition's log mean: kinds, bodies, and how each is encoded.

This is the only format that has to survive a crash; every view is computed from it (design §3).

======== ==== ============================================================ =====================
kind     code body                                                         header adds
======== ==== ============================================================ =====================
PUBLISH  1    an EventBatch (docs/protocol.md); no due time is NOW         offsets = events
FIRE     2    i64 offsets, then i64 due times, in (due, offset) order      positions = offsets
SETTLE   3    msgpack [group, reason, i64 (start, stop) position pairs]
RETRY    4    msgpack [group, i64 positions, u16 attempts, i64 due times]
GROUP    5    msgpack [group, first position]: begins (again); position -1: ended
EPOCH    6    msgpack [node id]: a leader's term begins, see the header
CANCEL   7    i64 offsets: they will not fire
MOVE     8    i64 offsets, then i64 due times: rescheduled
CARRY    9    events stored again, see carry.py
GROUPS   10   msgpack [[retries as in RETRY, cursor, since_ms], …]: all groups as they stand
======== ==== ============================================================ =====================

A record's `ts_ms` is the leader's clock when it was appended: the `published_ts` of its events, the
fire time of its positions.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import chain
from typing import Final, NamedTuple

import msgspec
import numpy as np

from chronosdb.node.partition.due import Due, Int64s
from chronosdb.wal import Draft, Record
from chronosdb.wire import EventBatch

#: Half-open range of positions.
Run = tuple[int, int]


#: In the place of a GROUP record's first position: the group is no more.
ENDED: Final = -1
#: What the attempts column of a RETRY record can hold.
ATTEMPTS_MAX: Final = 2**16 - 1


class Kind(IntEnum):
    """The record kinds; numbers are for ever."""

    PUBLISH = 1
    FIRE = 2
    SETTLE = 3
    RETRY = 4
    GROUP = 5
    EPOCH = 6
    CANCEL = 7
    MOVE = 8
    CARRY = 9
    GROUPS = 10


class SettleReason(IntEnum):
    """Why positions are settled for a group."""

    ACKED = 0
    DEAD_LETTERED = 1
    EXPIRED = 2
    PURGED = 3


class RetryRow(NamedTuple):
    """A delivery that failed: which attempt comes next, and when."""

    position: int
    attempt: int
    due_ms: int


class Settle(msgspec.Struct, frozen=True, array_like=True):
    """Body of SETTLE."""

    group: str
    reason: int
    runs: bytes

    @property
    def pairs(self) -> list[Run]:
        """The settled runs."""
        flat = memoryview(self.runs).cast("q").tolist()
        return list(zip(flat[0::2], flat[1::2], strict=True))


class Retries(msgspec.Struct, frozen=True, array_like=True):
    """Body of RETRY: three columns."""

    group: str
    positions: bytes
    attempts: bytes
    due: bytes

    @property
    def rows(self) -> list[RetryRow]:
        """The retries, one per position."""
        columns = (
            memoryview(self.positions).cast("q"),
            memoryview(self.attempts).cast("H"),
            memoryview(self.due).cast("q"),
        )
        return [RetryRow(*row) for row in zip(*columns, strict=True)]


class Group(msgspec.Struct, frozen=True, array_like=True):
    """Body of GROUP: everything below `start` counts as settled; ENDED: the group is forgotten."""

    group: str
    start: int


class GroupStands(msgspec.Struct, frozen=True, array_like=True):
    """One group as it stands; GROUPS has all of them."""

    #: Also its name.
    retries: Retries
    #: In the encoding of `Cursor`.
    cursor: bytes
    #: Log time at which it began, or began again.
    since_ms: int


class Epoch(msgspec.Struct, frozen=True, array_like=True):
    """Body of EPOCH."""

    node_id: str


_encode = msgspec.msgpack.Encoder().encode
_decode_settle = msgspec.msgpack.Decoder(Settle).decode
_decode_retries = msgspec.msgpack.Decoder(Retries).decode
_decode_group = msgspec.msgpack.Decoder(Group).decode
_decode_groups = msgspec.msgpack.Decoder(list[GroupStands]).decode
_decode_epoch = msgspec.msgpack.Decoder(Epoch).decode


def publish(batch: EventBatch, ts_ms: int, epoch: int) -> Draft:
    """A PUBLISH record: the batch's own bytes."""
    body = (batch.blob,)
    return Draft(kind=Kind.PUBLISH, ts_ms=ts_ms, body=body, offsets=batch.count, epoch=epoch)


def fire(due: Due, ts_ms: int, epoch: int) -> Draft:
    """A FIRE record: these became due, in this order."""
    return Draft(kind=Kind.FIRE, ts_ms=ts_ms, body=_pack_due(due), positions=due.size, epoch=epoch)


def cancel(offsets: Int64s, ts_ms: int, epoch: int) -> Draft:
    """A CANCEL record."""
    return Draft(kind=Kind.CANCEL, ts_ms=ts_ms, body=(_pack(offsets),), epoch=epoch)


def move(due: Due, ts_ms: int, epoch: int) -> Draft:
    """A MOVE record: these are due at other times from now on."""
    return Draft(kind=Kind.MOVE, ts_ms=ts_ms, body=_pack_due(due), epoch=epoch)


def settle(group: str, reason: SettleReason, runs: Iterable[Run], ts_ms: int, epoch: int) -> Draft:
    """A SETTLE record."""
    packed = array("q", chain.from_iterable(runs)).tobytes()
    return _draft(Kind.SETTLE, Settle(group, reason, packed), ts_ms, epoch)


def retry(group: str, rows: Sequence[RetryRow], ts_ms: int, epoch: int) -> Draft:
    """A RETRY record."""
    return _draft(Kind.RETRY, retries(group, rows), ts_ms, epoch)


def retries(group: str, rows: Sequence[RetryRow]) -> Retries:
    """Failed deliveries of a group as columns."""
    return Retries(
        group,
        array("q", [row.position for row in rows]).tobytes(),
        array("H", [row.attempt for row in rows]).tobytes(),
        array("q", [row.due_ms for row in rows]).tobytes(),
    )


def groups(stand: Sequence[GroupStands], ts_ms: int, epoch: int) -> Draft:
    """A GROUPS record: every group there is, after exactly the records before this one."""
    return _draft(Kind.GROUPS, stand, ts_ms, epoch)


def group(name: str, start: int, ts_ms: int, epoch: int) -> Draft:
    """A GROUP record: the group begins (again) at position `start`, or ends (ENDED)."""
    return _draft(Kind.GROUP, Group(name, start), ts_ms, epoch)


def epoch_begins(node_id: str, ts_ms: int, epoch: int) -> Draft:
    """An EPOCH record."""
    return _draft(Kind.EPOCH, Epoch(node_id), ts_ms, epoch)


def read_batch(record: Record) -> EventBatch:
    """The events of a PUBLISH record."""
    return EventBatch(record.body)


def read_due(record: Record) -> Due:
    """The body of a FIRE record, in position order, or of a MOVE record."""
    columns = np.frombuffer(record.body, dtype="<i8")
    count = len(columns) // 2
    return Due(due_ms=columns[count:], offsets=columns[:count])


def read_cancel(record: Record) -> Int64s:
    """The offsets of a CANCEL record."""
    return np.frombuffer(record.body, dtype="<i8")


def read_settle(record: Record) -> Settle:
    """The body of a SETTLE record."""
    return _decode_settle(record.body)


def read_retries(record: Record) -> Retries:
    """The body of a RETRY record."""
    return _decode_retries(record.body)


def read_group(record: Record) -> Group:
    """The body of a GROUP record."""
    return _decode_group(record.body)


def read_groups(record: Record) -> list[GroupStands]:
    """The body of a GROUPS record."""
    return _decode_groups(record.body)


def read_epoch(record: Record) -> Epoch:
    """The body of an EPOCH record."""
    return _decode_epoch(record.body)


def _pack(column: Int64s) -> bytes:
    return column.astype("<i8", copy=False).tobytes()


def _pack_due(due: Due) -> tuple[bytes, bytes]:
    return _pack(due.offsets), _pack(due.due_ms)


def _draft(
    kind: Kind, body: msgspec.Struct | Sequence[msgspec.Struct], ts_ms: int, epoch: int
) -> Draft:
    return Draft(kind=kind, ts_ms=ts_ms, body=(_encode(body),), epoch=epoch)

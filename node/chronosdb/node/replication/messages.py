"""What nodes say to each other about the copies of a partition: bodies of calls (node/PEERS.md).

One call is about many partitions; an answer has a row for each row of the question, in the same order.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

#: Partitions in one `begin` or `append`.
ITEMS_MAX: Final = 64
#: Partitions in one `fence`.
FENCES_MAX: Final = 4096
#: The newest reigns of a log are enough to find where it left the leader's.
REIGNS_MAX: Final = 256

_Number: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Epoch: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
#: (epoch, lsn of its first record in this log).
_Reign: TypeAlias = tuple[_Epoch, _Number]


class BadMessage(Exception):
    """A peer said what this version does not understand."""


class Status(IntEnum):
    """How a follower took a row."""

    OK = 0
    #: Its log is not where the leader thinks: begin again.
    AGAIN = 1
    #: It was promised to a newer epoch, or knows of one.
    STALE = 2
    #: Its disk is full; it goes on when there is space.
    FULL = 3
    #: It does not hold the partition, or not yet.
    ABSENT = 4


class BeginItem(Struct, frozen=True, array_like=True):
    """A leader wants to send its log."""

    topic_id: _Number
    partition: _Number
    epoch: _Epoch


class BeginAnswer(Struct, frozen=True, array_like=True):
    """What the follower has."""

    status: Status
    #: The newest epoch that it knows of.
    epoch: _Epoch
    #: To be said in every append: one that was on its way since before means nothing any more.
    session: _Number = 0
    start_lsn: _Number = 0
    end_lsn: _Number = 0
    reigns: Annotated[list[_Reign], Meta(max_length=REIGNS_MAX)] = []


class PlainPoint(Struct, frozen=True, array_like=True):
    """A `wal.Point`."""

    lsn: _Number
    offset: _Number
    position: _Number
    ts_ms: int


class AppendItem(Struct, frozen=True, array_like=True):
    """Records for a follower; perhaps none, but news of what is committed."""

    topic_id: _Number
    partition: _Number
    epoch: _Epoch
    session: _Number
    #: Where the records begin. Whatever the follower has from there on is not in the leader's log.
    lsn: _Number
    #: Below this everything is committed.
    high_watermark: _Number
    #: The leader's log begins here; the follower may drop what is before.
    start_lsn: _Number
    #: The follower's log is to begin anew at this point, which is at `lsn`.
    reset: PlainPoint | None
    #: Whether the records end with these bytes; else the next append continues them.
    whole: bool
    raw: bytes


class AppendAnswer(Struct, frozen=True, array_like=True):
    """Where the follower is now."""

    status: Status
    epoch: _Epoch
    #: Everything below this is durable there.
    end_lsn: _Number = 0


class Begin(Struct, frozen=True, array_like=True):
    """Body of `begin`."""

    items: Annotated[list[BeginItem], Meta(max_length=ITEMS_MAX)]


class Begun(Struct, frozen=True, array_like=True):
    """Answer to `begin`."""

    answers: Annotated[list[BeginAnswer], Meta(max_length=ITEMS_MAX)]


class Append(Struct, frozen=True, array_like=True):
    """Body of `append`."""

    items: Annotated[list[AppendItem], Meta(max_length=ITEMS_MAX)]


class Appended(Struct, frozen=True, array_like=True):
    """Answer to `append`."""

    answers: Annotated[list[AppendAnswer], Meta(max_length=ITEMS_MAX)]


class Fence(Struct, frozen=True, array_like=True):
    """Body of `fence`: refuse from now on everything below these epochs."""

    #: (topic id, partition, epoch).
    wants: Annotated[list[tuple[_Number, _Number, _Epoch]], Meta(max_length=FENCES_MAX)]


class Fenced(Struct, frozen=True, array_like=True):
    """Answer to `fence`: how far the copies are that were fenced. One that is missing cannot be vouched for."""

    #: (topic id, partition, epoch of the last record, end of what is durable).
    standings: Annotated[
        list[tuple[_Number, _Number, _Epoch, _Number]], Meta(max_length=FENCES_MAX)
    ]


class Handover(Struct, frozen=True, array_like=True):
    """Body of `handover`: let `to` have everything, and stop leading; the answer is whether that is so."""

    topic_id: _Number
    partition: _Number
    epoch: _Epoch
    to: str


class RecordItem(Struct, frozen=True, array_like=True):
    """Body of `record`: somebody's record at `lsn` is damaged; a piece of it from this byte on, please."""

    topic_id: _Number
    partition: _Number
    lsn: _Number
    skip: _Number


class RecordAnswer(Struct, frozen=True, array_like=True):
    """What the log says that it comes from, and the piece; empty: it has no such record."""

    start_lsn: _Number
    end_lsn: _Number
    reigns: Annotated[list[_Reign], Meta(max_length=REIGNS_MAX)]
    #: Below this everything is committed.
    high_watermark: _Number
    #: Whether the record ends with these bytes.
    whole: bool
    raw: bytes


T = TypeVar("T")

encode = msgspec.msgpack.Encoder().encode


class _Decoders(dict[type, "msgspec.msgpack.Decoder[Any]"]):
    """One for each kind, made by the event loop's thread alone: it is the only one that has peers."""

    def __missing__(self, kind: type) -> msgspec.msgpack.Decoder[Any]:
        self[kind] = msgspec.msgpack.Decoder(kind)
        return self[kind]


_decoders: Final = _Decoders()


def decode(body: bytes, kind: type[T]) -> T:
    """A message of this kind.

    Raises:
        BadMessage: these bytes are none.
    """
    try:
        message: T = _decoders[kind].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"no {kind.__name__}: {error}") from None
    return message

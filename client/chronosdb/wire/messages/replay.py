"""Replay: the stored events of one partition as a stream, in one of four orders, touching no group.

    client                          node
    Replay ─────────────────────▶
           ◀─────────────────────  ReplayOpened (or Failed)
           ◀─────────────────────  Replayed …        as long as there is credit, in bytes
    ReplayCredit ───────────────▶
           ◀─────────────────────  ReplayEnd         that was all, or why there is no more
    ReplayEnd ──────────────────▶                    instead: the client has enough; no answer

A stream's number is chosen by the client and not used again on its connection.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta, Struct, field

from chronosdb.wire.limits import MAX_REPLAY_BYTES
from chronosdb.wire.messages.base import (
    Answer,
    Key,
    Message,
    Millis,
    Name,
    PartitionId,
    RequestId,
)

StreamId: TypeAlias = Annotated[int, Meta(ge=0, lt=2**32)]
#: Bytes of event batches.
ReplayBytes: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_REPLAY_BYTES)]
ReplayBy: TypeAlias = Literal["offset", "published", "fired", "scheduled"]

#: In the place of a cut: the stream goes on with what is committed later.
NO_CUT: Final = -1


class ReplayPlace(Struct, frozen=True, array_like=True):
    """A place in the stream of one partition, between two events; what is behind it never changes.

    ========================= ===================================== ========= ==================
    by                        `at`                                  `offset`  `until`
    ========================= ===================================== ========= ==================
    "offset", "published"     offset of the next event              0         an offset
    "fired"                   position of the next event            0         a position
    "scheduled"               schedule_ts of the event before ...   its offset  a place in the log
    ========================= ===================================== ========= ==================

    `until` is the cut: what was committed when the replay began. NO_CUT: there is none.
    """

    until: Millis
    at: Millis
    offset: Millis


class Replay(Message, frozen=True, array_like=True, tag=40):
    """Open a stream of the events in [start, end), None: from the oldest, up to the cut.

    `start` and `end` are times in ms; by "offset", offsets. With `place` the stream goes on there,
    whatever `start` says, and up to the cut of that place if it has one. `credit` is how many bytes
    of batches the client has room for.
    """

    request: RequestId
    stream: StreamId
    topic: Name
    partition: PartitionId
    by: ReplayBy
    start: Millis | None
    end: Millis | None
    key: Key | None
    follow: bool
    place: ReplayPlace | None
    credit: ReplayBytes


class ReplayOpened(Answer, frozen=True, array_like=True, tag=41):
    """The stream begins at `place`."""

    place: ReplayPlace


class Replayed(Message, frozen=True, array_like=True, tag=42):
    """Events, in order. Costs as much credit as `batch` has bytes.

    Columns i64, one entry per event: `offsets`, `published`; by "fired" also `positions` and `fired`
    (epoch ms), else these are empty. `batch` holds the events, with due times as published; by
    "scheduled" and "fired", as they are now or were when the event fired.
    """

    stream: StreamId
    offsets: memoryview
    published: memoryview
    positions: memoryview
    fired: memoryview
    batch: memoryview


class ReplayCredit(Message, frozen=True, array_like=True, tag=43):
    """The client has room for `credit` more bytes. No reply."""

    stream: StreamId
    credit: ReplayBytes


class ReplayEnd(Message, frozen=True, array_like=True, tag=44):
    """The stream has ended, from either side. `code` empty: no error; else as in Failed."""

    stream: StreamId
    code: str = ""
    message: str = ""
    retryable: bool = False
    details: dict[str, Any] = field(default_factory=dict)

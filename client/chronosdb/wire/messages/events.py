"""Publishing events, and asking for one."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from chronosdb.wire.limits import MAX_MESSAGE_ID_BYTES
from chronosdb.wire.messages.base import (
    Answer,
    Count,
    Message,
    Millis,
    Name,
    PartitionId,
    RequestId,
)

#: Whose disks: 0 the leader's, 1 a quorum's, 2 those of all replicas in sync.
Acks: TypeAlias = Annotated[int, Meta(ge=0, le=2)]


class Publish(Message, frozen=True, array_like=True, tag=20):
    """Store a batch in one partition: all of it, or nothing and an error.

    `acks` says whose disks it is to be on before the answer: the leader's, those of a quorum of the
    replicas in sync, or of all of them. None: as the topic says.
    """

    request: RequestId
    topic: Name
    partition: PartitionId
    batch: memoryview
    acks: Acks | None = None


class Published(Answer, frozen=True, array_like=True, tag=21):
    """The batch is on disk.

    `offsets` empty: event i has offset `first_offset` + i and none was a duplicate. Otherwise
    `offsets` is i64 per event and `duplicates` one byte (0 or 1) per event.
    """

    first_offset: Count
    offsets: bytes = b""
    duplicates: bytes = b""


class Get(Message, frozen=True, array_like=True, tag=22):
    """Ask for one event by id."""

    request: RequestId
    topic: Name
    partition: PartitionId
    message_id: Annotated[bytes, Meta(min_length=1, max_length=MAX_MESSAGE_ID_BYTES)]


class GetReply(Answer, frozen=True, array_like=True, tag=23):
    """The event (a batch of one) and where it stands; `state` empty: no such id."""

    state: str
    offset: Count = 0
    published_ms: Millis = 0
    batch: memoryview = memoryview(b"")

"""Groups: join, take deliveries, settle them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from chronosdb.wire.limits import MAX_DELAY_MS, MAX_EXTEND_MS, MAX_MEMBER_CHARS
from chronosdb.wire.messages.base import (
    Answer,
    Count,
    Credits,
    Message,
    Millis,
    Name,
    PartitionId,
    Reason,
    RequestId,
    SubscriptionId,
)


class Subscribe(Message, frozen=True, array_like=True, tag=30):
    """Join a group. `start` places a *new* group: "earliest", "latest", or epoch ms.

    `subscription` is chosen by the client, unique on its connection. `credits` is how many events
    may be in flight to this member. Of a cluster, a member subscribes at several nodes: `member` is its
    name, the same at each of them; empty: this subscription is all of it.
    """

    request: RequestId
    subscription: SubscriptionId
    topic: Name
    group: Name
    mode: Annotated[str, Meta(pattern=r"^(ordered|shared)\Z")]
    start: Annotated[str, Meta(pattern=r"^(earliest|latest)\Z")] | Millis
    credits: Credits
    member: Annotated[str, Meta(max_length=MAX_MEMBER_CHARS)] = ""


class Unsubscribe(Message, frozen=True, array_like=True, tag=31):
    """Leave; deliveries not yet acked go to other members at once."""

    request: RequestId
    subscription: SubscriptionId


class Credit(Message, frozen=True, array_like=True, tag=32):
    """Grant `credits` more deliveries. No reply."""

    subscription: SubscriptionId
    credits: Credits


class Recall(Message, frozen=True, array_like=True, tag=53):
    """Take back up to `credits` that were granted and not spent, to grant them to another node."""

    request: RequestId
    subscription: SubscriptionId
    credits: Credits


class Recalled(Answer, frozen=True, array_like=True, tag=54):
    """So many were taken back. It comes behind all deliveries that were paid for before."""

    credits: Credits


class Deliver(Message, frozen=True, array_like=True, tag=33):
    """Events of one partition, due and leased to this member.

    Columns, one entry per event: `positions` i64, `offsets` i64, `published` i64 (epoch ms),
    `attempts` u16; `batch` holds the events in the same order. `sent_ms` is the leader's wall clock.
    """

    subscription: SubscriptionId
    partition: PartitionId
    sent_ms: Millis
    positions: memoryview
    offsets: memoryview
    published: memoryview
    attempts: memoryview
    batch: memoryview


class Ack(Message, frozen=True, array_like=True, tag=34):
    """Settle deliveries. `runs`: i64 pairs (first position, position after the last)."""

    request: RequestId
    subscription: SubscriptionId
    partition: PartitionId
    runs: memoryview


class Nack(Message, frozen=True, array_like=True, tag=35):
    """Give one delivery back. `delay_ms` None: the group's back-off."""

    request: RequestId
    subscription: SubscriptionId
    partition: PartitionId
    position: Count
    attempt: Annotated[int, Meta(ge=1, lt=2**16)]
    delay_ms: Annotated[int, Meta(ge=0, le=MAX_DELAY_MS)] | None
    reason: Reason


class Extend(Message, frozen=True, array_like=True, tag=36):
    """Move the ack deadline of a delivery to `extend_ms` from now."""

    request: RequestId
    subscription: SubscriptionId
    partition: PartitionId
    position: Count
    attempt: Annotated[int, Meta(ge=1, lt=2**16)]
    extend_ms: Annotated[int, Meta(ge=0, le=MAX_EXTEND_MS)]

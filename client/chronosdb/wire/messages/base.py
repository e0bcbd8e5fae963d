"""The base of all messages, and the bounded types that their fields have."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from chronosdb.wire.limits import (
    MAX_CREDITS,
    MAX_KEY_BYTES,
    MAX_PARTITIONS_PER_TOPIC,
    MAX_REASON_CHARS,
    NAME_PATTERN,
)

RequestId: TypeAlias = Annotated[int, Meta(ge=0, lt=2**32)]
SubscriptionId: TypeAlias = Annotated[int, Meta(ge=0, lt=2**32)]
PartitionId: TypeAlias = Annotated[int, Meta(ge=0, lt=MAX_PARTITIONS_PER_TOPIC)]
Name: TypeAlias = Annotated[str, Meta(pattern=NAME_PATTERN, max_length=249)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Millis: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Credits: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_CREDITS)]
Reason: TypeAlias = Annotated[str, Meta(max_length=MAX_REASON_CHARS)]
Key: TypeAlias = Annotated[bytes, Meta(min_length=1, max_length=MAX_KEY_BYTES)]


class Message(Struct, frozen=True, array_like=True):
    """Base of all messages."""


class Answer(Message, frozen=True, array_like=True):
    """Base of the messages that answer a request: their first field is its number."""

    request: RequestId

"""Topics: create, describe, list."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from chronosdb.wire.limits import MAX_PARTITIONS_PER_TOPIC
from chronosdb.wire.messages.base import Answer, Message, Name, RequestId


class TopicInfo(Struct, frozen=True, array_like=True):
    """A topic as clients see it. `leaders[p]` is partition p's "host:port", empty: this node."""

    name: str
    partitions: int
    settings: dict[str, int]
    leaders: list[str]
    created_ms: int


class CreateTopic(Message, frozen=True, array_like=True, tag=10):
    """Create a topic, or confirm that it exists with these partitions and settings."""

    request: RequestId
    name: Name
    partitions: Annotated[int, Meta(ge=1, le=MAX_PARTITIONS_PER_TOPIC)]
    settings: dict[str, int]


class DescribeTopic(Message, frozen=True, array_like=True, tag=11):
    """Ask for one topic."""

    request: RequestId
    name: Name


class ListTopics(Message, frozen=True, array_like=True, tag=12):
    """Ask for all topics."""

    request: RequestId


class TopicReply(Answer, frozen=True, array_like=True, tag=13):
    """One topic; `created` says whether this request made it."""

    topic: TopicInfo
    created: bool = False


class TopicsReply(Answer, frozen=True, array_like=True, tag=14):
    """All topics, by name."""

    topics: list[TopicInfo]


class DeleteTopic(Message, frozen=True, array_like=True, tag=52):
    """Delete a topic with its groups and events. Refused with `conflict` while it has consumers."""

    request: RequestId
    name: Name

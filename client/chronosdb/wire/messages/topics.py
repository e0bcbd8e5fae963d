"""Topics: create, describe, list, and who leads them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from chronosdb.wire.limits import MAX_PARTITIONS_PER_TOPIC
from chronosdb.wire.messages.base import Answer, Count, Message, Name, RequestId


class TopicInfo(Struct, frozen=True, array_like=True):
    """A topic as clients see it. `leaders[p]` is partition p's "host:port".

    Empty: of a cluster, nobody leads it now; else this node does.
    """

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
    """One topic; `created` says whether this request made it.

    Of a cluster: `nodes` are the addresses of all its nodes, and of two answers the one with the larger
    `version` is the later one, whichever nodes gave them.
    """

    topic: TopicInfo
    created: bool = False
    nodes: list[str] = field(default_factory=list)
    version: Count = 0


class LeadersChanged(Message, frozen=True, array_like=True, tag=15):
    """Other nodes lead partitions of this topic now: ask for it again. Not asked for, not answered."""

    topic: Name


class TopicsReply(Answer, frozen=True, array_like=True, tag=14):
    """All topics, by name."""

    topics: list[TopicInfo]


class DeleteTopic(Message, frozen=True, array_like=True, tag=52):
    """Delete a topic with its groups and events. Refused with `conflict` while it has consumers."""

    request: RequestId
    name: Name

"""What nodes ask each other for a client: some of the client's own messages, and parts of an answer.

On the wire a message is as in `chronosdb.wire.messages`: a msgpack array that begins with its tag. Tags of
what only nodes say begin at 200. Nothing here but these can be asked, and nothing but these answered.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from chronosdb.wire import messages as m
from chronosdb.wire.limits import MAX_PARTITIONS_PER_TOPIC
from chronosdb.wire.messages import Message, Millis, Name, PartitionId

#: Names one change of a group, from its claim to its release.
Token: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Partitions: TypeAlias = Annotated[list[PartitionId], Meta(max_length=MAX_PARTITIONS_PER_TOPIC)]
GroupStart: TypeAlias = Annotated[str, Meta(pattern=r"^(earliest|latest)\Z")] | Millis
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=60_000)]


class PublishOccurrence(Message, frozen=True, array_like=True, tag=200):
    """Store the event of a schedule; only the node that leads the metadata may ask. Done."""

    topic: Name
    partition: PartitionId
    batch: memoryview


class ListGroupParts(Message, frozen=True, array_like=True, tag=201):
    """Ask what a node has of each group of a topic."""

    topic: Name


class GroupPart(Struct, frozen=True, array_like=True):
    """One group: who takes part in it on a node, and its lag in the partitions that node leads."""

    name: str
    members: list[str]
    lag: int


class GroupParts(Message, frozen=True, array_like=True, tag=202):
    """By name; `partitions` are those of the topic that the node leads."""

    partitions: list[int]
    groups: list[GroupPart]


class ClaimGroup(Message, frozen=True, array_like=True, tag=203):
    """Nobody is to join this group here for `for_ms`, unless it has members and not `force`."""

    topic: Name
    group: Name
    token: Token
    for_ms: Limit
    force: bool


class Claimed(Message, frozen=True, array_like=True, tag=204):
    """Who takes part here. If anyone, and there was no `force`, the group is not claimed."""

    members: list[str]


class ReleaseGroup(Message, frozen=True, array_like=True, tag=205):
    """That change of the group is over. Done."""

    topic: Name
    group: Name
    token: Token


class MoveGroup(Message, frozen=True, array_like=True, tag=206):
    """Let a claimed group begin again in those of `partitions` that are led here. GroupMoved.

    With `dry_run` it need not be claimed, and nothing moves.
    """

    topic: Name
    group: Name
    token: Token
    partitions: Partitions
    to: GroupStart
    dry_run: bool


class EndGroup(Message, frozen=True, array_like=True, tag=207):
    """Forget a claimed group in those of `partitions` that are led here."""

    topic: Name
    group: Name
    token: Token
    partitions: Partitions


class GroupEnded(Message, frozen=True, array_like=True, tag=208):
    """The partitions in which it is forgotten, on disk."""

    partitions: list[int]


class ReadNode(Message, frozen=True, array_like=True, tag=220):
    """Ask what only a node itself knows; with a topic, also of the partitions of it that it leads."""

    topic: Name | None


class Heard(Struct, frozen=True, array_like=True):
    """What the controller heard of a node: how long ago, and by how much its clock is ahead."""

    node: str
    silent_ms: int
    ahead_ms: int | None


class Lag(Struct, frozen=True, array_like=True):
    """By how much of the log a copy is behind its leader."""

    partition: int
    node: str
    nbytes: int


class NodeReading(Message, frozen=True, array_like=True, tag=221):
    """What it knows; `heard` is empty unless it leads the metadata."""

    version: str
    heard: list[Heard]
    lags: list[Lag]


Asked: TypeAlias = (
    m.Publish
    | m.Change
    | m.DescribeGroup
    | m.PutSchedule
    | m.PauseSchedule
    | m.DeleteSchedule
    | PublishOccurrence
    | ListGroupParts
    | ClaimGroup
    | ReleaseGroup
    | MoveGroup
    | EndGroup
    | ReadNode
)
Answered: TypeAlias = (
    m.Done
    | m.Failed
    | m.Published
    | m.Changed
    | m.GroupReply
    | m.GroupMoved
    | m.ScheduleReply
    | GroupParts
    | Claimed
    | GroupEnded
    | NodeReading
)

#: Where a client's message has the number of its request, between nodes: the call has one of its own.
NO_REQUEST: Final = 0


class Question(Struct, frozen=True, array_like=True):
    """A message, and for how long whoever asks will wait for its answer."""

    within_ms: Limit
    message: Asked


encode = msgspec.msgpack.Encoder().encode
decode_question = msgspec.msgpack.Decoder(Question).decode
decode_answer = msgspec.msgpack.Decoder(Answered).decode

"""Groups as an operator sees them: listed, described, reset, deleted."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from chronosdb.wire.messages.base import Answer, Message, Millis, Name, RequestId


class GroupSummary(Struct, frozen=True, array_like=True):
    """A group in a list. `lag`: events that have fired and are not settled, in all partitions.

    All but those of which nobody could say it now: how many these are is `unknown`.
    """

    name: str
    mode: str
    created_ms: int
    members: int
    lag: int
    unknown: int = 0


class GroupPartition(Struct, frozen=True, array_like=True):
    """A group's progress in one partition; `position` and `end` are positions of its delivery order.

    Everything below `position` is settled, `end` is the end of what has fired, `lag` how many events
    of that are not settled. `lag_ms`: how long ago the first of them was due. `since_ms`: when the
    group began here, or began again.
    """

    partition: int
    position: int
    end: int
    lag: int
    lag_ms: int
    leased: int
    retrying: int
    since_ms: int


class GroupMember(Struct, frozen=True, array_like=True):
    """A member. `credits`: how many more events it may be sent; `leased`: how many it holds.

    `member` is the name under which it subscribed at several nodes; empty: it did so at one.
    """

    id: int
    client: str
    partitions: list[int]
    credits: int
    leased: int
    member: str = ""


class GroupInfo(Struct, frozen=True, array_like=True):
    """A group. `generation` grows with each change of the members; 0: there are none.

    A partition in which the group has not begun, because making it was cut short, is not listed; nor is
    one of which nobody could say anything now: these are `unknown`.
    """

    topic: str
    name: str
    mode: str
    created_ms: int
    generation: int
    partitions: list[GroupPartition]
    members: list[GroupMember]
    unknown: list[int] = field(default_factory=list)

    @property
    def lag(self) -> int:
        """Events that have fired and are not settled."""
        return sum(row.lag for row in self.partitions)

    @property
    def lag_ms(self) -> int:
        """How long ago the first of them was due."""
        return max((row.lag_ms for row in self.partitions), default=0)


class GroupMove(Struct, frozen=True, array_like=True):
    """What a reset does in one partition: where the group was, where it is then, and its lag there."""

    partition: int
    old_position: int
    new_position: int
    lag: int


class ListGroups(Message, frozen=True, array_like=True, tag=45):
    """Ask for the groups of a topic."""

    request: RequestId
    topic: Name


class GroupsReply(Answer, frozen=True, array_like=True, tag=46):
    """The groups, by name."""

    groups: list[GroupSummary]


class DescribeGroup(Message, frozen=True, array_like=True, tag=47):
    """Ask for one group."""

    request: RequestId
    topic: Name
    group: Name


class GroupReply(Answer, frozen=True, array_like=True, tag=48):
    """One group."""

    group: GroupInfo


class ResetGroup(Message, frozen=True, array_like=True, tag=49):
    """Let a group begin again: at "earliest", "latest", or with what fired at epoch ms or later.

    Refused with `conflict` while it has members, unless `force`. `dry_run`: only say what it would do.
    """

    request: RequestId
    topic: Name
    group: Name
    to: Annotated[str, Meta(pattern=r"^(earliest|latest)\Z")] | Millis
    dry_run: bool
    force: bool


class DeleteGroup(Message, frozen=True, array_like=True, tag=50):
    """Forget a group. Refused with `conflict` while it has members."""

    request: RequestId
    topic: Name
    group: Name


class GroupMoved(Answer, frozen=True, array_like=True, tag=51):
    """What the reset did, or would do."""

    moves: list[GroupMove]

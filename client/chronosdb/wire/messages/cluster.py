"""The nodes of a cluster and where copies are: looked at, and changed. Any node may be asked."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from chronosdb.wire.limits import MAX_ADDRESS_CHARS, MAX_REPLICATION
from chronosdb.wire.messages.base import Answer, Count, Message, Name, PartitionId, RequestId


class NodeState(Struct, frozen=True, array_like=True):
    """One node. `state`: "alive", "fenced", "draining" or "left".

    `silent_ms`: how long the controller has not heard of it; `ahead_ms`: by how much its clock is ahead
    of the controller's; both nil if that is not known. `reached`: it answered when it was asked for this;
    `version` and `copies` (partitions it holds) are nothing if it did not.
    """

    name: str
    address: str
    peer_address: str
    rack: str
    state: str
    votes: bool
    reached: bool
    silent_ms: int | None
    ahead_ms: int | None
    version: str
    led: int
    copies: int


class CopyState(Struct, frozen=True, array_like=True):
    """A partition's copy on a node.

    `lag_bytes`: of the log, behind its leader; nil if nobody knows. `leaving`: it is being moved away.
    """

    node: str
    in_sync: bool
    leaving: bool
    lag_bytes: int | None


class PartitionState(Struct, frozen=True, array_like=True):
    """One partition of the topic that was asked for. `leader`: a node's name, empty if nobody leads."""

    partition: int
    leader: str
    epoch: int
    copies: list[CopyState]


class ClusterState(Struct, frozen=True, array_like=True):
    """The whole cluster, as the node that answers knows it.

    `leader`: the node that leads the metadata, empty if none is known. `partitions`: of all topics;
    `leaderless` and `behind` (with fewer copies in sync than they should have) are some of them;
    `moving`: copies that are not where they are to be yet.
    """

    cluster_id: str
    answered_by: str
    leader: str
    nodes: list[NodeState]
    partitions: int
    leaderless: int
    behind: int
    moving: int


class DescribeCluster(Message, frozen=True, array_like=True, tag=80):
    """Ask how the cluster is; with a topic, also how that is (else it is empty)."""

    request: RequestId
    topic: Name | None


class ClusterReply(Answer, frozen=True, array_like=True, tag=81):
    """How it is."""

    cluster: ClusterState
    topic: list[PartitionState]


class AddNode(Message, frozen=True, array_like=True, tag=82):
    """Admit a node, which may start then."""

    request: RequestId
    node: Name
    peer_address: Annotated[str, Meta(min_length=1, max_length=MAX_ADDRESS_CHARS)]
    rack: Annotated[str, Meta(max_length=MAX_ADDRESS_CHARS)]


class DrainNode(Message, frozen=True, array_like=True, tag=83):
    """Move everything away from a node; or, `undo`, let it be given partitions again."""

    request: RequestId
    node: Name
    undo: bool


class RemoveNode(Message, frozen=True, array_like=True, tag=84):
    """Take a node out of the cluster, for good, once nothing is on it: asked again until then.

    `force`: it is dead and will not come back; what only it had is lost.
    """

    request: RequestId
    node: Name
    force: bool


class TransferLeader(Message, frozen=True, array_like=True, tag=85):
    """Have node `to` lead a partition, or without one (nil, 0) the metadata."""

    request: RequestId
    topic: Name | None
    partition: PartitionId
    to: Name
    unclean: bool


class Rebalance(Message, frozen=True, array_like=True, tag=86):
    """Spread copies and leaders evenly over the nodes and racks; or, `cancel`, leave them as they are."""

    request: RequestId
    cancel: bool


class SetReplication(Message, frozen=True, array_like=True, tag=87):
    """Let a topic have so many copies from now on."""

    request: RequestId
    topic: Name
    replication: Annotated[int, Meta(ge=1, le=MAX_REPLICATION)]


class Moves(Answer, frozen=True, array_like=True, tag=88):
    """It is under way. `left`: copies that still have to be made, moved or given up for it."""

    left: Count

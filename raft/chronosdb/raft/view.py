"""What readers see of the cluster: immutable values that are shared freely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chronosdb.raft.settings import Settings

#: The leader of a partition that has none.
NOBODY = ""


class NodeState(StrEnum):
    """What a node may do."""

    #: Hold replicas, and lead.
    ALIVE = "alive"
    #: Not heard of, or not yet: it leads nothing and gets nothing new.
    FENCED = "fenced"
    #: Keeps what it has until it is moved, and gets nothing new.
    DRAINING = "draining"
    #: Removed. Its name is never accepted again.
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic. `leaders[p]`, `epochs[p]` and so on are partition p's."""

    name: str
    #: Never reused, also not by a later topic of the same name.
    id: int
    settings: Settings
    created_ms: int
    leaders: tuple[str, ...]
    #: An epoch only ever grows; each names one leadership.
    epochs: tuple[int, ...]
    #: Who holds it, the preferred leader first.
    replicas: tuple[tuple[str, ...], ...]
    #: Who of them has everything that is committed. Invariant: a leader is among them.
    isrs: tuple[tuple[str, ...], ...]
    #: Log index of the command that last changed it: the precondition of the next change.
    versions: tuple[int, ...]
    #: Where each shall go, () where it stays; no column at all if nothing moves.
    #: Invariant: none equals the replicas.
    targets: tuple[tuple[str, ...], ...] = ()

    @property
    def partitions(self) -> int:
        """How many it has, for life."""
        return len(self.leaders)

    def target(self, partition: int) -> tuple[str, ...]:
        """Who shall hold a partition, the preferred leader first; () if it stays."""
        return self.targets[partition] if self.targets else ()

    def leaving(self, partition: int) -> tuple[str, ...]:
        """The replicas that its leader should let go: all that stay, or came, are in sync."""
        target = self.target(partition)
        if not target or not set(target) <= set(self.isrs[partition]):
            return ()
        stay = {self.leaders[partition], *target}
        return tuple(node for node in self.replicas[partition] if node not in stay)


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A consumer group of one topic; `mode` is 'ordered' or 'shared'."""

    topic: str
    group: str
    mode: str
    settings: Settings
    created_ms: int
    #: Log index of the command that last assigned its partitions, 0 if none did. It only grows.
    generation: int = 0
    #: By partition, which member reads it, "" for nobody; () if it was never assigned.
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node. What it has not said yet is empty."""

    node: str
    #: Where clients reach it.
    address: str
    #: Tells its successive lives apart: each is higher.
    incarnation: int
    #: Where its peers reach it.
    peer_address: str = ""
    #: What it shares power and network with; empty if with nobody.
    rack: str = ""
    #: Names its data directory. Invariant: once said it never changes.
    birth: str = ""
    #: Invariant: LEFT is for good.
    state: NodeState = NodeState.ALIVE

    @property
    def has_left(self) -> bool:
        """Whether it was removed; what is still known of it keeps it from coming back."""
        return self.state is NodeState.LEFT


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A recurring schedule; what it says is opaque here."""

    name: str
    topic: str
    definition: bytes
    paused: bool
    #: Log index of the command that made it so. Invariant: only ever grows, also over a deletion.
    generation: int
    #: When it was put, by the clock of the node that was asked.
    put_ms: int
    #: Occurrences up to this one are done. Invariant: within a generation it never goes back.
    done_ms: int

    def says(self, topic: str, definition: bytes, *, paused: bool) -> bool:
        """Whether to put this would change nothing."""
        return (self.topic, self.definition, self.paused) == (topic, definition, paused)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The whole cluster as of log index `version`, the last that changed any of it."""

    version: int
    topics: Mapping[str, TopicInfo]
    #: Keyed by (topic, group).
    groups: Mapping[tuple[str, str], GroupInfo]
    nodes: Mapping[str, NodeInfo]
    #: Above the id of every topic that ever was.
    next_topic_id: int
    schedules: Mapping[str, ScheduleInfo]
    #: Who votes since log entry `voters_base`; empty until a change of voters was applied.
    voters: tuple[str, ...] = ()
    voters_base: int = 0
    #: Of the whole cluster.
    settings: Settings = field(default_factory=dict)

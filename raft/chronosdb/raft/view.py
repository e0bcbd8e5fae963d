"""What readers see of the cluster: immutable values that are shared freely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chronosdb.raft.settings import Settings

#: The leader of a partition that has none.
NOBODY = ""


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic. `leaders[p]` and `epochs[p]` are partition p's; an epoch only ever grows."""

    name: str
    #: Never reused, also not by a later topic of the same name.
    id: int
    settings: Settings
    created_ms: int
    leaders: tuple[str, ...]
    epochs: tuple[int, ...]

    @property
    def partitions(self) -> int:
        """How many it has, for life."""
        return len(self.leaders)


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A consumer group of one topic; `mode` is 'ordered' or 'shared'."""

    topic: str
    group: str
    mode: str
    settings: Settings
    created_ms: int


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A registered node; `incarnation` tells its successive lives apart."""

    node: str
    address: str
    incarnation: int


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

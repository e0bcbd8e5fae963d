"""The metrics of a node in a cluster: what it holds and leads, who is behind, whom it reaches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from chronosdb.node.observe.figure import Figure, figure
from chronosdb.node.replication.copies import Copies, CopyStatus
from chronosdb.raft import ClusterView, TopicInfo

#: Partitions whose copies have numbers of their own; those of others are added up.
PARTITIONS_MAX: Final = 1_000
#: Not a name that a topic can have.
OTHERS: Final = "(other)"
_ROLES: Final = ("leader", "follower", "opening", "damaged")
_STEP: Final = 64


@dataclass(slots=True)
class CopyCounts:
    """All copies on one node, counted."""

    roles: Counter[str] = field(default_factory=Counter)
    #: Of what is led here: (topic, partition, follower) → bytes.
    lags: dict[tuple[str, str, str], int] = field(default_factory=dict)
    #: Led here, with fewer copies in sync than there are to be.
    behind: int = 0
    #: Copies in sync, of what is led here, and those that there are to be.
    in_sync: int = 0
    wanted: int = 0

    def add(self, status: CopyStatus, info: TopicInfo, partition: int) -> None:
        """Take one more into account."""
        self.roles[status.role] += 1
        if status.role != "leader":
            return
        in_sync = len(info.isrs[partition])
        wanted = max(len(info.replicas[partition]), info.settings.get("replication", 1))
        self.in_sync += in_sync
        self.wanted += wanted
        self.behind += in_sync < wanted
        own = len(self.lags) < PARTITIONS_MAX
        for node, nbytes in status.lag.items():
            key = (info.name, str(partition), node) if own else (OTHERS, "", node)
            self.lags[key] = self.lags.get(key, 0) + nbytes


async def count_copies(copies: Copies, view: ClusterView) -> CopyCounts:
    """Count what is held; others get their turn in between."""
    counts = CopyCounts()
    for number, identity in enumerate(copies.held(), 1):
        status, info = copies.status(identity), view.topics.get(identity.topic)
        if status is not None and info is not None and info.id == identity.topic_id:
            counts.add(status, info, identity.partition)
        if number % _STEP == 0:
            await trio.lowlevel.checkpoint()
    return counts


def copy_figures(counts: CopyCounts) -> Sequence[Figure]:
    """The figures of copies."""
    roles = [((role,), float(counts.roles[role])) for role in _ROLES]
    lags = [(key, float(nbytes)) for key, nbytes in counts.lags.items()]
    return [
        Figure(
            "copies",
            "Copies of partitions on this node; `damaged` are those that wait to be mended.",
            ["role"],
            roles,
        ),
        Figure(
            "copy_lag_bytes",
            "By how much of the log a follower is behind this node, which leads.",
            ["topic", "partition", "node"],
            lags,
        ),
        figure(
            "partitions_behind",
            "Partitions led here that have fewer copies in sync than they should have.",
            counts.behind,
        ),
        figure("copies_in_sync", "Copies in sync, of what is led here.", counts.in_sync),
        figure("copies_wanted", "Copies that there are to be, of what is led here.", counts.wanted),
    ]


def node_figures(facts: Mapping[str, float]) -> Sequence[Figure]:
    """The figures of the node itself; `facts` has a value for each."""
    return [figure(name, text, facts[name], counts=counts) for name, text, counts in _NODE_FIGURES]


_NODE_FIGURES: Final = (
    ("copies_set_aside", "Copies that could not be mended, and were copied anew.", True),
    ("leaderships", "Times that this node began to lead a partition.", True),
    ("lease_held", "1 while this node may lead partitions.", False),
    ("metadata_leads", "1 while this node leads the metadata.", False),
    ("metadata_term", "The latest term of the metadata's leaders that is known here.", False),
    ("metadata_version", "The log index of the last change of the metadata known here.", False),
    ("partitions_leaderless", "Partitions of the cluster that nobody leads.", False),
    ("peers", "Other nodes of the cluster.", False),
    ("peers_up", "Other nodes that this one is connected to.", False),
    ("records_mended", "Damaged records that were put right with another copy's bytes.", True),
)

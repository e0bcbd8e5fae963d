"""What may be asked of a new topic, and what it gets where nothing was asked (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from chronosdb.node.holding.opener import PartitionDefaults
from chronosdb.node.partition.partition import policy_for
from chronosdb.raft import ClusterView, CreateTopic, NodeState
from chronosdb.wire.errors import InvalidArgument
from chronosdb.wire.letters import SUFFIX
from chronosdb.wire.limits import MAX_NAME_CHARS
from chronosdb.wire.units import format_duration

#: Copies of a topic in a cluster of as many nodes or more, if nobody said how many.
_COPIES: Final = 3


def check_topic(asked: CreateTopic, defaults: PartitionDefaults) -> None:
    """Refuse what could not work on any node.

    Raises:
        InvalidArgument: a name or a setting is not allowed.
    """
    _check_name(asked.name)
    _check_retention(asked.settings, defaults)
    policy_for(defaults.retry, asked.settings)


def check_alone(settings: Mapping[str, int]) -> None:
    """Refuse, not note, what a single node cannot keep.

    Raises:
        InvalidArgument: more copies than one are asked for.
    """
    for setting in ("replication", "min_insync"):
        if settings.get(setting, 1) > 1:
            raise InvalidArgument(
                f"{setting}: this is a single node, which keeps one copy; leave it at 1"
            )


def with_copies(asked: CreateTopic, cluster: ClusterView, replication: int) -> CreateTopic:
    """What to ask of the metadata of a cluster: it always says how many copies there are to be.

    `replication` is the node's default; 0: as many as nodes, but no more than 3.

    Raises:
        InvalidArgument: there are not so many nodes.
    """
    known = cluster.topics.get(asked.name)
    alive = sum(node.state is NodeState.ALIVE for node in cluster.nodes.values())
    wanted = asked.settings.get("replication")
    if wanted is None:
        # Whoever does not say wants what there is, also if the cluster has grown since.
        there = None if known is None else known.settings.get("replication")
        wanted = there or replication or _default_copies(cluster)
    elif known is None and wanted > alive:
        raise InvalidArgument(
            f"replication is {wanted}, but {alive} nodes are alive: ask for fewer copies, or start"
            " more nodes (`chronos cluster status` shows them)"
        )
    if asked.settings.get("min_insync", 1) > wanted:
        raise InvalidArgument(
            f"min_insync is {asked.settings['min_insync']}, more than there are copies ({wanted}):"
            " nothing could ever be published"
        )
    return replace(asked, settings={**asked.settings, "replication": wanted})


def _default_copies(cluster: ClusterView) -> int:
    nodes = sum(not node.has_left for node in cluster.nodes.values())
    return max(1, min(_COPIES, nodes))


def _check_retention(settings: Mapping[str, int], defaults: PartitionDefaults) -> None:
    """The bytes of events are needed for as long as their ids are known."""
    retention_ms = settings.get("retention_ms", defaults.retention.ms)
    window_ms = settings.get("dedup_window_ms", defaults.commit.dedup_window_ms)
    if 0 < retention_ms < window_ms:
        raise InvalidArgument(
            f"retention_ms is {format_duration(retention_ms)}, shorter than dedup_window_ms,"
            f" {format_duration(window_ms)}: a repeated publish is told from a conflict by the"
            " first one's bytes. Shorten dedup_window_ms too"
        )


def _check_name(name: str) -> None:
    """Every topic must be able to have a dead-letter topic."""
    longest = MAX_NAME_CHARS - len(SUFFIX)
    if len(name) > longest and not name.endswith(SUFFIX):
        raise InvalidArgument(
            f"a topic name of {len(name)} characters leaves no room for {SUFFIX!r};"
            f" at most {longest} are allowed"
        )

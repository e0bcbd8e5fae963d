"""A cluster for people: its nodes, what is not as it should be, and a topic's copies."""

from __future__ import annotations

from typing import Any

from chronosdb.client.cli.context import App
from chronosdb.client.cli.output import counted
from chronosdb.client.cli.values import format_age, format_bytes, struct_json
from chronosdb.wire.messages import ClusterState, CopyState, NodeState, PartitionState


def show_cluster(app: App, cluster: ClusterState, topic: list[PartitionState] | None) -> None:
    """Print all of it."""
    if app.json:
        app.output.json(_as_json(cluster, topic))
        return
    voters = ", ".join(node.name for node in cluster.nodes if node.votes)
    leader = f"led by {cluster.leader}" if cluster.leader else "without a leader"
    app.output.facts(
        [
            ("cluster", f"{cluster.cluster_id}, as {cluster.answered_by} knows it"),
            ("metadata", f"{leader}; voters {voters}"),
            ("partitions", f"{cluster.partitions:,}: {_health(cluster)}"),
        ]
    )
    app.output.write("\n")
    columns = ("node", "state", "heard", "clock", "leads", "holds", "rack", "clients", "peers")
    app.output.table(columns, [_node(node, cluster.leader) for node in cluster.nodes])
    if topic is not None:
        app.output.write("\n")
        rows = [
            (one.partition, one.leader or "nobody", one.epoch, ", ".join(map(_copy, one.copies)))
            for one in topic
        ]
        app.output.table(("partition", "leader", "epoch", "copies"), rows)


def _as_json(cluster: ClusterState, topic: list[PartitionState] | None) -> dict[str, Any]:
    facts = {**struct_json(cluster), "nodes": [struct_json(node) for node in cluster.nodes]}
    if topic is not None:
        facts["topic"] = [
            {**struct_json(one), "copies": [struct_json(copy) for copy in one.copies]}
            for one in topic
        ]
    return facts


def _health(cluster: ClusterState) -> str:
    wrong = [
        f"{count:,} {what}"
        for count, what in (
            (cluster.leaderless, "without a leader"),
            (cluster.behind, "with too few copies in sync"),
            (cluster.moving, "on the move"),
        )
        if count
    ]
    return ", ".join(wrong) or "all led, all in sync"


def _node(node: NodeState, leader: str) -> tuple[object, ...]:
    words = [node.state]
    if not node.reached:
        words.append("silent")
    if node.name == leader:
        words.append("leads the metadata")
    elif node.votes:
        words.append("votes")
    return (
        node.name,
        ", ".join(words),
        "" if node.silent_ms is None else f"{format_age(node.silent_ms)} ago",
        "" if node.ahead_ms is None else f"{node.ahead_ms:+d}ms",
        node.led,
        node.copies,
        node.rack,
        node.address,
        node.peer_address,
    )


def _copy(copy: CopyState) -> str:
    notes = [] if copy.in_sync else ["not in sync"]
    if copy.leaving:
        notes.append("leaving")
    if copy.lag_bytes:
        notes.append(f"{format_bytes(copy.lag_bytes)} behind")
    return f"{copy.node} ({', '.join(notes)})" if notes else copy.node


def moves(left: int) -> str:
    """How much is still to be moved, in words."""
    return counted(left, "partition") + " to move"

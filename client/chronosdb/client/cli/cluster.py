"""`chronos cluster`: what the node that answers says of itself and of what it serves."""

from __future__ import annotations

import click

from chronosdb.client import NodeStats
from chronosdb.client.cli.context import App, Group, pass_app
from chronosdb.client.cli.values import format_age, format_bytes, format_time, struct_json


@click.group(cls=Group)
def cluster() -> None:
    """Look at the cluster. For now it is one node."""


@cluster.command()
@pass_app
def status(app: App) -> None:
    """Show the node: its version, how long it runs, what it serves, what it keeps on disk."""
    node = app.run(lambda db: db.stats())
    if app.json:
        facts = struct_json(node)
        del facts["topics"], facts["lateness_bounds_ms"]
        app.output.json({**facts, "topics": len(node.topics), "partitions": partitions(node)})
        return
    rows = [
        ("node", node.node_id),
        ("cluster", node.cluster_id),
        ("version", node.version),
        (
            "up",
            f"{format_age(node.now_ms - node.started_ms)}, since {format_time(node.started_ms)}",
        ),
        ("clients", node.connections),
        ("topics", len(node.topics)),
        ("partitions", partitions(node)),
        ("pending", f"{sum(topic.pending for topic in node.topics):,}"),
        ("logs", format_bytes(node.log_bytes)),
        ("disk free", format_bytes(node.free_bytes)),
    ]
    app.output.facts(rows)


def partitions(node: NodeStats) -> int:
    """How many partitions a node serves."""
    return sum(topic.partitions for topic in node.topics)

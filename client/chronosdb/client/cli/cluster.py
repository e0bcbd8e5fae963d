"""`chronos cluster`: begin one, look at it, let nodes come and go, move what they hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import click

from chronosdb.client import Client, NodeStats
from chronosdb.client.cli.cluster_files import (
    Plan,
    PlannedNode,
    joining_settings,
    parse_node,
    parse_nodes,
    write_files,
)
from chronosdb.client.cli.cluster_view import moves, show_cluster
from chronosdb.client.cli.confirm import confirm
from chronosdb.client.cli.context import App, Group, pass_app
from chronosdb.client.cli.values import (
    format_age,
    format_bytes,
    format_time,
    parsed_by,
    struct_json,
)
from chronosdb.wire.messages import ClusterState, PartitionState

#: How often a move that is waited for is looked at.
_LOOK_S: Final = 0.5


def _wait_option() -> Callable[[Any], Any]:
    return click.option(
        "--wait/--no-wait",
        default=True,
        show_default=True,
        help="Stay until it is done. Ctrl-C ends the waiting, not the work.",
    )


@click.group(cls=Group)
def cluster() -> None:
    """Begin a cluster, look at it, change it. Any node may be asked."""


@cluster.command()
@click.argument("nodes", metavar="NODES", callback=parsed_by(parse_nodes))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--name", default="chronosdb", show_default=True, help="The cluster's name.")
@click.option("--config-dir", default="", help="Where the files will lie on the nodes  [--out]")
@click.option("--data-dir", default="", help="Where nodes keep data  [data in --config-dir]")
@pass_app
def init(
    app: App,
    *,
    nodes: tuple[PlannedNode, ...],
    out: Path,
    name: str,
    config_dir: str,
    data_dir: str,
) -> None:
    """Write a configuration file for each of a new cluster's NODES, and their secret.

    NODES are names and the addresses at which nodes reach each other, such as
    n1=10.0.0.1:9001,n2=10.0.0.2:9001,n3=10.0.0.3:9001. Nothing is contacted, nothing is started.
    """
    where = config_dir or str(out.resolve())
    plan = Plan(name, nodes, where, data_dir or f"{where}/data")
    files = write_files(plan, out)
    if app.json:
        names = [str(path) for path in files]
        app.output.json({"cluster": name, "files": names, "servers": plan.servers})
        return
    app.output.text(map(str, files))
    app.output.note(
        f"copy the secret and NODE.toml to {where} on each node, start it there with"
        f" chronos-node --config {where}/NODE.toml, then: chronos --server {plan.servers}"
        " cluster status"
    )


@cluster.command()
@click.option("--topic", help="Show where this topic's copies are, too.")
@pass_app
def status(app: App, topic: str | None) -> None:
    """Show the nodes, and what is not as it should be. Of a node alone, how it does."""

    async def look(
        db: Client,
    ) -> tuple[ClusterState, list[PartitionState] | None, NodeStats | None]:
        cluster = await db.cluster.status()
        if _is_alone(cluster):
            return cluster, None, await db.stats()
        return cluster, None if topic is None else await db.cluster.topic(topic), None

    state, partitions, alone = app.run(look)
    if alone is None:
        show_cluster(app, state, partitions)
    else:
        _show_alone(app, alone)


@cluster.command()
@click.argument("node", metavar="NAME=HOST:PORT", callback=parsed_by(parse_node))
@click.option("--rack", default="", help="What it shares power and network with.")
@pass_app
def add(app: App, node: PlannedNode, rack: str) -> None:
    """Admit a node, and show what to start it with.

    HOST:PORT is where other nodes will reach it. It may get partitions as soon as it runs;
    `chronos cluster rebalance` moves some of the present ones to it.
    """

    async def admit(db: Client) -> ClusterState:
        await db.cluster.add(node.name, str(node.peer), rack=rack)
        return await db.cluster.status()

    state = app.run(admit)
    peers = [
        (one.name, one.peer_address)
        for one in state.nodes
        if one.name != node.name and one.peer_address
    ]
    settings = joining_settings(node, state.cluster_id, peers)
    if app.json:
        app.output.json({"node": node.name, "settings": dict(settings)})
        return
    app.output.text([f'{key} = "{value}"' for key, value in settings])
    app.output.note(
        f"node {node.name} is admitted: put these lines into its configuration, with data_dir of its"
        " own and the cluster_secret_file of the others, and start it"
    )


@cluster.command()
@click.argument("node")
@click.option("--undo", is_flag=True, help="Let it have partitions again.")
@_wait_option()
@pass_app
def drain(app: App, node: str, undo: bool, wait: bool) -> None:
    """Move everything away from NODE, which stays in the cluster: before it is worked at."""

    async def work(db: Client) -> int:
        return await _until_done(
            app, f"draining {node}", partial(db.cluster.drain, node, undo=undo), wait=wait
        )

    _tell(app, app.run(work), node=node)


@cluster.command()
@click.argument("node")
@click.option(
    "--force", is_flag=True, help="It is dead for good: give up what nobody else has a copy of."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_wait_option()
@pass_app
def remove(app: App, node: str, force: bool, yes: bool, wait: bool) -> None:
    """Move everything away from NODE, and take it out of the cluster for good.

    Its name is never accepted again.
    """
    loss = ", giving up what only it has," if force else ""
    confirm(f"Remove node {node}{loss} for good?", yes=yes)

    async def work(db: Client) -> int:
        return await _until_done(
            app, f"removing {node}", partial(db.cluster.remove, node, force=force), wait=wait
        )

    _tell(app, app.run(work), node=node)


@cluster.command()
@click.argument("node")
@click.option("--topic", help="Of this topic  [the metadata]")
@click.option("--partition", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--unclean", is_flag=True, help="Although it is not in sync: what it lacks is lost for good."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def transfer(
    app: App, *, node: str, topic: str | None, partition: int, unclean: bool, yes: bool
) -> None:
    """Have NODE lead a partition, or the metadata."""
    if unclean and topic is None:
        raise click.UsageError("--unclean is about a partition: say which with --topic.")
    if unclean:
        confirm(f"Lose what {node} lacks of {topic}/{partition} for good?", yes=yes)
    app.run(lambda db: db.cluster.transfer(node, topic=topic, partition=partition, unclean=unclean))
    what = "the metadata" if topic is None else f"{topic}/{partition}"
    if app.json:
        app.output.json({"node": node, "topic": topic, "partition": partition})
    else:
        app.output.text([f"{node} is to lead {what}"])


@cluster.command()
@click.option("--cancel", is_flag=True, help="Leave what is on the move where it is.")
@_wait_option()
@pass_app
def rebalance(app: App, cancel: bool, wait: bool) -> None:
    """Spread copies and leaders evenly over the nodes and racks."""

    async def work(db: Client) -> int:
        left = await db.cluster.rebalance(cancel=cancel)

        async def look() -> int:
            return (await db.cluster.status()).moving

        return await _until_done(app, "moving", look, wait=wait and left > 0) if left else 0

    _tell(app, app.run(work))


@cluster.command()
@click.argument("topic")
@click.argument("copies", type=click.IntRange(min=1, max=7))
@_wait_option()
@pass_app
def set_replication(app: App, topic: str, copies: int, wait: bool) -> None:
    """Let TOPIC have COPIES copies of each partition."""

    async def work(db: Client) -> int:
        await db.cluster.set_replication(topic, copies)

        async def look() -> int:
            partitions = await db.cluster.topic(topic)
            return sum(not _has(partition, copies) for partition in partitions)

        return await _until_done(app, f"copying {topic}", look, wait=wait)

    _tell(app, app.run(work), topic=topic, copies=copies)


async def _until_done(
    app: App, title: str, look: Callable[[], Awaitable[int]], *, wait: bool
) -> int:
    """How many partitions are left to move, by `look`: 0 in the end, if it is to be waited for."""
    left = await look()
    if not left or not wait:
        return left
    most = left
    with app.output.steps(title, most) as show:
        while left:
            show(max(most - left, 0))
            await anyio.sleep(_LOOK_S)
            left = await look()
    return 0


def _has(partition: PartitionState, copies: int) -> bool:
    in_sync = sum(copy.in_sync for copy in partition.copies)
    return in_sync == len(partition.copies) == copies


def _tell(app: App, left: int, **facts: object) -> None:
    if app.json:
        app.output.json({**facts, "left": left})
    elif left:
        app.output.text([f"{moves(left)}; `chronos cluster status` shows how it goes on"])
    else:
        app.output.text(["done"])


def _is_alone(state: ClusterState) -> bool:
    return all(not node.peer_address for node in state.nodes)


def _show_alone(app: App, node: NodeStats) -> None:
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

"""A cluster as its operators see and handle it, at any node."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from chronosdb.client import Client
from chronosdb.node.configuration.config import Address
from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.wire import messages as m
from chronosdb.wire.errors import Conflict, InvalidArgument, NotFound
from tests.support.in_cluster import Cluster, Node, cluster
from tests.support.in_process import topic_broker
from tests.support.raw_client import event
from tests.tidy.repository import read

NAMES = ["n1", "n2", "n3"]


@asynccontextmanager
async def machines(clock: MockClock, *names: str) -> AsyncIterator[Cluster]:
    """The machines of a cluster, on which nothing runs yet."""
    async with cluster(clock, *names) as nodes:
        await nodes.stop()
        for node in nodes.nodes.values():
            node.disk = MemoryDisk()
            node.disk.write_file_atomic("/secret", b"the secret of the tests")
        yield nodes


async def state(node: Node, topic: str | None = None) -> m.ClusterReply:
    """The cluster as a node describes it."""
    client = await node.connect()
    reply: m.ClusterReply = await client.call(m.DescribeCluster, topic)
    await client.close()
    return reply


async def until_healthy(db: Client, count: int) -> m.ClusterState:
    """Wait until so many nodes are alive, and every partition is led and in sync."""
    with trio.fail_after(60):
        while True:
            found = await db.cluster.status()
            alive = sum(node.state == "alive" for node in found.nodes)
            if alive == count and not found.leaderless and not found.behind and not found.moving:
                return found
            await trio.sleep(0.1)


def latecomer(nodes: Cluster, name: str, **settings: Any) -> Node:
    """A machine with a node that is to join."""
    joining = {
        "node_id": name,
        "listen": Address(name, 9000),
        "peer_listen": Address(name, 9001),
        "join": tuple((n, Address(n, 9001)) for n in NAMES),
        "cluster_name": nodes.any.member.cluster_id,
        "cluster_secret_file": "/secret",
        "insecure_i_know": True,
        "idle_timeout_ms": 24 * 3_600_000,
    }
    node = nodes.nodes[name] = Node(nodes, name, joining | settings, seed=99)
    node.disk.write_file_atomic("/secret", b"the secret of the tests")
    return node


@pytest.mark.slow
async def test_every_node_describes_the_same_cluster(clock: MockClock) -> None:
    """Who is there, who votes, who leads, and that nothing is wrong."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=4)
        chief = await nodes.chief()
        await trio.sleep(4)  # a node says where its peers reach it again, if that was lost
        for node in nodes.running:
            found = (await state(node)).cluster
            assert found.answered_by == node.name
            assert found.leader == chief.name
            assert (found.partitions, found.leaderless, found.behind, found.moving) == (4, 0, 0, 0)
            assert [one.name for one in found.nodes] == NAMES
            for one in found.nodes:
                assert (one.state, one.votes, one.reached, one.copies) == ("alive", True, True, 4)
                assert (one.address, one.peer_address) == (f"{one.name}:9000", f"{one.name}:9001")
                assert one.led == info.leaders.count(one.name)
                assert one.silent_ms is not None
                assert one.silent_ms < 1000
                assert one.ahead_ms is not None
                assert abs(one.ahead_ms) < 100


async def test_a_topics_copies_are_described_by_their_leaders(clock: MockClock) -> None:
    """Where they are, whether they are in sync, and how far behind."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=2)
        for node in nodes.running:
            partitions = (await state(node, "t")).topic
            assert [one.leader for one in partitions] == list(info.leaders)
            for one in partitions:
                assert {copy.node for copy in one.copies} == set(NAMES)
                assert all(copy.in_sync and not copy.leaving for copy in one.copies)
                assert [copy.lag_bytes for copy in one.copies] == [0, 0, 0]
        with pytest.raises(NotFound, match="no topic 'x'"):
            await state(nodes.any, "x")


@pytest.mark.slow
async def test_a_dead_node_is_shown_as_such(clock: MockClock) -> None:
    """Silent at once, fenced soon; what it holds counts as missing."""
    async with cluster(clock) as nodes:
        await nodes.topic(partitions=3)
        await nodes["n3"].kill()
        await nodes.led("t")
        with trio.fail_after(30):
            while (await state(nodes.any)).cluster.nodes[2].state != "fenced":  # noqa: ASYNC110
                await trio.sleep(0.1)
        found = (await state(nodes.any)).cluster
        assert [node.reached for node in found.nodes] == [True, True, False]
        assert found.nodes[2].led == 0
        assert (found.leaderless, found.behind) == (0, 3)


@pytest.mark.slow
async def test_a_node_is_added_and_takes_part(clock: MockClock) -> None:
    """Admitted first, started then; topics made after that may be on it."""
    async with cluster(clock) as nodes, nodes.library() as db:
        await db.create_topic("t", 3)
        await db.cluster.add("n4", "n4:9001", rack="r2")
        node = latecomer(nodes, "n4")
        await node.start()
        found = await until_healthy(db, 4)
        one = next(one for one in found.nodes if one.name == "n4")
        assert (one.address, one.rack, one.votes) == ("n4:9000", "r2", False)
        client = await node.connect()
        assert (await client.call(m.DescribeTopic, "t")).topic.partitions == 3
        await db.create_topic("wide", 16)
        assert any("n4" in replicas for replicas in nodes.any.view.topics["wide"].replicas)


async def test_a_node_that_was_alone_becomes_a_cluster(clock: MockClock) -> None:
    """It keeps what it has; a second node joins, and topics get a second copy."""
    async with machines(clock, "n1") as nodes:
        first = nodes["n1"]
        first.settings = {
            name: value
            for name, value in first.settings.items()
            if name not in {"initial_cluster", "cluster_secret_file", "peer_listen"}
        }
        founding = first.settings | {
            "initial_cluster": (("n1", Address("n1", 9001)),),
            "peer_listen": Address("n1", 9001),
            "cluster_secret_file": "/secret",
        }
        await first.start()
        client = await first.connect()
        await client.create_topic("t", 2)
        await client.publish(event("a"), partition=1)
        await first.stop()
        first.settings = founding
        await first.start()
        async with nodes.library() as db:
            await db.cluster.add("n2", "n2:9001")
            await latecomer(nodes, "n2").start()
            await until_healthy(db, 2)
            await db.cluster.set_replication("t", 2)
            with trio.fail_after(60):
                while not all(  # noqa: ASYNC110
                    sum(copy.in_sync for copy in one.copies) == 2
                    for one in await db.cluster.topic("t")
                ):
                    await trio.sleep(0.1)
            client = await first.connect()
            assert (await client.get("a", partition=1)).state == "fired"


@pytest.mark.slow
async def test_a_node_moves_to_another_address(clock: MockClock) -> None:
    """The others are told where to find it, and do; then it starts there."""
    async with cluster(clock) as nodes, nodes.library() as db:
        await db.create_topic("t", 3)
        mover = nodes["n3"]
        await mover.stop()
        moved = Address("n3", 9500)
        mover.settings = mover.settings | {"peer_listen": moved}
        await db.cluster.add("n3", str(moved))
        await mover.start()
        found = await until_healthy(db, 3)
        assert found.nodes[2].peer_address == str(moved)
        await trio.sleep(10)
        assert all(one.reached for one in (await db.cluster.status()).nodes)


async def test_a_node_that_lost_its_disk_is_replaced_by_another(clock: MockClock) -> None:
    """It cannot come back under its name; the dead one is removed by force, and nothing is lost."""
    async with cluster(clock) as nodes, nodes.library() as db:
        await db.create_topic("t", 2)
        await nodes.led("t")
        ids = {(await db.publish("t", b"x")).message_id for _ in range(10)}
        await nodes["n3"].kill()
        del nodes.nodes["n3"]
        await db.cluster.add("n4", "n4:9001")
        await latecomer(nodes, "n4").start()
        with trio.fail_after(120):
            while await db.cluster.remove("n3", force=True):  # noqa: ASYNC110
                await trio.sleep(0.2)
        found = await until_healthy(db, 3)
        assert [node.name for node in found.nodes] == ["n1", "n2", "n4"]
        assert {event.message_id async for event in db.replay("t", by="offset")} == ids


async def test_a_node_says_which_rack_it_is_in(clock: MockClock) -> None:
    """By its own settings; copies of a partition go to different racks."""
    async with cluster(clock, "n1", "n2", "n3", "n4", "n5", rack="west") as nodes:
        found = (await state(nodes.any)).cluster
        assert {node.rack for node in found.nodes} == {"west"}


async def test_a_node_that_stops_hands_over_first(clock: MockClock) -> None:
    """Others lead before it is gone: nobody has to wait until it is missed."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=6)
        chief = await nodes.chief()
        await chief.stop()
        view = nodes.any.view
        assert chief.name not in view.topics["t"].leaders
        assert all(view.topics["t"].leaders)
        assert view.topics["t"].replicas == info.replicas
        assert (await nodes.chief()).name != chief.name


async def test_a_leader_is_moved_to_another_node(clock: MockClock) -> None:
    """A partition's, and that of the metadata."""
    async with cluster(clock) as nodes, nodes.library() as db:
        info = await nodes.topic(partitions=1)
        to = next(name for name in NAMES if name != info.leaders[0])
        await db.cluster.transfer(to, topic="t")
        with trio.fail_after(30):
            while nodes.any.view.topics["t"].leaders != (to,):
                await nodes.any.member.metadata.changed.wait()
        await db.publish("t", b"x")
        chief = await nodes.chief()
        heir = next(name for name in NAMES if name != chief.name)
        await db.cluster.transfer(heir)
        assert (await nodes.chief()).name == heir
        with pytest.raises(InvalidArgument, match="holds no copy"):
            await db.cluster.transfer("n9", topic="t")


@pytest.mark.slow
async def test_a_node_is_drained_and_removed(clock: MockClock) -> None:
    """Its copies move to the others, one by one; nothing is lost, and its name is not used again."""
    async with cluster(clock, "n1", "n2", "n3", "n4") as nodes, nodes.library() as db:
        await db.create_topic("t", 4)
        await nodes.led("t")
        ids = {(await db.publish("t", b"x")).message_id for _ in range(20)}
        with trio.fail_after(120):
            while await db.cluster.drain("n4"):  # noqa: ASYNC110 - as an operator does
                await trio.sleep(0.2)
            while await db.cluster.remove("n4"):  # noqa: ASYNC110
                await trio.sleep(0.2)
        await nodes["n4"].end_process()
        found = await until_healthy(db, 3)
        assert [node.name for node in found.nodes] == NAMES
        assert {event.message_id async for event in db.replay("t", by="offset")} == ids
        with pytest.raises(Conflict, match="was removed for good"):
            await db.cluster.add("n4", "n4:9001")


async def test_what_would_lose_copies_is_not_drained(clock: MockClock) -> None:
    """Three copies need three nodes; the sentence says what can be done."""
    async with cluster(clock) as nodes, nodes.library() as db:
        await db.create_topic("t", 1)
        with pytest.raises(Conflict, match="add a node"):
            await db.cluster.remove("n3")


async def test_a_node_alone_describes_itself_and_moves_nothing(clock: MockClock) -> None:
    """It is a cluster of one."""
    async with topic_broker(clock, partitions=2) as (_, client):
        found = (await client.call(m.DescribeCluster, "t")).cluster
        [node] = found.nodes
        assert (found.leader, node.votes, node.led, node.copies) == (node.name, True, 2, 2)
        assert (found.partitions, found.leaderless, found.behind) == (2, 0, 0)
        with pytest.raises(InvalidArgument, match="this node is alone"):
            await client.call(m.Rebalance, False)


async def test_every_figure_is_documented(clock: MockClock) -> None:
    """docs/metrics.md has a row for each, as a scrape shows it, and for no other."""
    table = read("docs/metrics.md").split("\nA node in a cluster has")[1].split("\nA node with ")[0]
    rows = re.findall(r"^\| `chronosdb_(\w+)` \| (\w+) \|([^|]*)\| (.*?) \|$", table, re.MULTILINE)
    documented = {
        name: (kind, re.findall(r"\w+", labels), text) for name, kind, labels, text in rows
    }
    async with cluster(clock) as nodes:
        figures = await nodes.any.member.figures()
    assert documented == {
        one.name + "_total" * one.counts: (
            "counter" if one.counts else "gauge",
            list(one.labels),
            one.text,
        )
        for one in figures
    }


async def test_figures_tell_what_a_node_holds_and_leads(clock: MockClock) -> None:
    """The metrics of a healthy cluster."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=6)
        chief = await nodes.chief()
        for node in nodes.running:
            figures = {one.name: one for one in await node.member.figures()}
            led = info.leaders.count(node.name)
            assert dict(figures["copies"].samples) == {
                ("leader",): led,
                ("follower",): 6 - led,
                ("opening",): 0,
                ("damaged",): 0,
            }
            assert set(figures["copy_lag_bytes"].labels) == {"topic", "partition", "node"}
            assert [nbytes for _, nbytes in figures["copy_lag_bytes"].samples] == [0] * 2 * led
            values = {name: one.samples[0][1] for name, one in figures.items() if not one.labels}
            assert values["copies_in_sync"] == values["copies_wanted"] == 3 * led
            assert values["metadata_leads"] == (node is chief)
            assert values["leaderships"] == led
            assert (values["peers"], values["peers_up"], values["lease_held"]) == (2, 2, 1)
            assert (values["partitions_behind"], values["partitions_leaderless"]) == (0, 0)

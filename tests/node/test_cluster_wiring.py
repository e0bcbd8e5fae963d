"""A topic in a cluster: made at any node, found at every node, gone from all of them."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.replication.copies import Copies
from chronosdb.raft import NOBODY, NodeState, TopicInfo
from chronosdb.wire import encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument, NotFound, NotLeader
from tests.support.in_cluster import Cluster, Node, cluster
from tests.support.raw_client import RawClient, event

NAMES = ["n1", "n2", "n3"]


async def shown(node: Node, topic: str = "t") -> m.TopicReply:
    """The topic, as a node tells its clients."""
    client = await node.connect()
    reply: m.TopicReply = await client.call(m.DescribeTopic, topic)
    await client.close()
    return reply


def other_than(nodes: Cluster, *names: str) -> Node:
    return next(node for node in nodes.running if node.name not in names)


def folders(node: Node) -> list[str]:
    return sorted(node.disk.listdir("/data/partitions"))


async def until_folders(node: Node, expected: list[str]) -> None:
    with trio.fail_after(30):
        while folders(node) != expected:  # noqa: ASYNC110 - the disk tells nobody
            await trio.sleep(0.05)


async def publish(client: RawClient, info: TopicInfo, *ids: str) -> None:
    await client.publish(*map(event, ids), topic=info.name)


async def test_a_topic_has_its_copies_and_every_node_says_who_leads(clock: MockClock) -> None:
    """Three copies without being asked; addresses that clients can dial; all nodes to choose from."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=6)
        assert {frozenset(replicas) for replicas in info.replicas} == {frozenset(NAMES)}
        leaders = [f"{leader}:9000" for leader in info.leaders]
        replies = [await shown(node) for node in nodes.running]
        for reply in replies:
            assert reply.topic.leaders == leaders
            assert sorted(reply.nodes) == [f"{name}:9000" for name in NAMES]
            assert reply.topic.settings == {"replication": 3}
        assert len({reply.version for reply in replies}) == 1


@pytest.mark.slow
async def test_a_topic_can_be_used_as_soon_as_it_is_made(clock: MockClock) -> None:
    """Each partition, at the node that was named when it was created: nobody has to try again."""
    async with cluster(clock) as nodes:
        for number in range(5):
            name = f"t{number}"
            client = await nodes.any.connect()
            reply = await client.call(m.CreateTopic, name, 4, {})
            for partition, leader in enumerate(reply.topic.leaders):
                there = await nodes[leader.partition(":")[0]].connect()
                await there.publish(event("a"), topic=name, partition=partition)
                await there.close()
            await client.close()


async def test_a_node_that_does_not_lead_names_the_one_that_does(clock: MockClock) -> None:
    """And does nothing else."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=1)
        client = await other_than(nodes, info.leaders[0]).connect()
        with pytest.raises(NotLeader, match="is led by node") as caught:
            await publish(client, info, "a")
        assert caught.value.details == {"leader": f"{info.leaders[0]}:9000"}
        assert caught.value.retryable
        with pytest.raises(NotFound, match="1 is none of them"):
            await client.publish(event("a"), partition=1)


async def test_what_a_cluster_cannot_keep_is_refused(clock: MockClock) -> None:
    """Before anything is made."""
    async with cluster(clock) as nodes:
        client = await nodes.any.connect()
        with pytest.raises(InvalidArgument, match="replication is 4, but 3 nodes are alive"):
            await client.create_topic(replication=4)
        with pytest.raises(InvalidArgument, match="min_insync is 3, more than there are copies"):
            await client.create_topic(replication=2, min_insync=3)
        with pytest.raises(NotFound):
            await client.call(m.DescribeTopic, "t")


async def test_an_equal_topic_is_confirmed_at_any_node(clock: MockClock) -> None:
    """Whether the number of copies is said or not."""
    settings: list[dict[str, int]] = [{}, {"replication": 3}, {}]
    async with cluster(clock) as nodes:
        created = []
        for node, asked in zip(nodes.running, settings, strict=True):
            client = await node.connect()
            created.append(await client.create_topic("t", 2, **asked))
            await client.close()
        assert created == [True, False, False]


async def test_clients_that_deal_with_a_topic_hear_that_others_lead_it(clock: MockClock) -> None:
    """From the node that they are connected to, once it knows; of other topics they hear nothing."""
    async with cluster(clock) as nodes:
        info = await nodes.topic("t", partitions=1)
        await nodes.topic("quiet", partitions=1)
        [lost] = info.leaders
        listener, stranger = [await other_than(nodes, lost).connect() for _ in range(2)]
        await listener.call(m.DescribeTopic, "t")
        await stranger.call(m.DescribeTopic, "quiet")
        await nodes[lost].kill()
        after = await nodes.led("t")
        for client in (listener, stranger):
            await client.call(m.ListTopics)  # what was sent before has arrived, too
        assert "t" in listener.led_anew
        assert set(listener.led_anew) == {"t"}
        assert "t" not in stranger.led_anew
        reply = await listener.call(m.DescribeTopic, "t")
        assert reply.topic.leaders == [f"{after.leaders[0]}:9000"]


async def test_a_deleted_topic_is_gone_from_every_disk(clock: MockClock) -> None:
    """Also from those that only had copies of it."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=2)
        client = await nodes[info.leaders[0]].connect()
        await publish(client, info, "a", "b")
        assert all(folders(node) == ["1-0", "1-1"] for node in nodes.running)
        await client.call(m.DeleteTopic, "t")
        for node in nodes.running:
            await until_folders(node, [])
        with pytest.raises(NotFound):
            await client.call(m.DescribeTopic, "t")


async def test_a_node_that_was_away_removes_what_was_deleted_meanwhile(clock: MockClock) -> None:
    """At its next start."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=1)
        away = other_than(nodes, *info.leaders)
        await away.kill()
        client = await nodes.any.connect()
        await client.call(m.DeleteTopic, "t")
        assert folders(away) == ["1-0"]
        await away.start()
        await until_folders(away, [])


@pytest.mark.slow
async def test_fewer_copies_free_the_disks_of_those_that_go(clock: MockClock) -> None:
    """And only theirs; what is committed stays readable."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=1)
        client = await nodes[info.leaders[0]].connect()
        await publish(client, info, "a", "b", "c")
        await client.call(m.SetReplication, "t", 1)
        with trio.fail_after(60):
            while len(nodes.any.view.topics["t"].replicas[0]) > 1:
                await nodes.any.member.metadata.changed.wait()
        [keeper] = nodes.any.view.topics["t"].replicas[0]
        for node in nodes.running:
            await until_folders(node, ["1-0"] if node.name == keeper else [])
        await nodes.led("t")
        reader = await nodes[keeper].connect()
        assert (await reader.get("b")).state in {"pending", "fired"}


async def test_a_publish_may_ask_for_all_copies(clock: MockClock) -> None:
    """It is not answered while one that is in sync has not got it; with a quorum it is."""
    async with cluster(clock, replica_lag_max_ms=60_000, lease_ms=30_000) as nodes:
        info = await nodes.topic(partitions=1)
        [leader] = info.leaders
        client = await nodes[leader].connect()
        nodes.hosts.isolate(other_than(nodes, leader).name, [leader])
        await client.post(_publish(client.number(), "quorum", acks=1))
        await client.reply(1)
        await client.post(_publish(client.number(), "all", acks=2))
        with pytest.raises(trio.TooSlowError), trio.fail_after(2):
            await client.reply(2)
        nodes.hosts.heal()
        await client.reply(2)


def _publish(request: int, message_id: str, *, acks: int) -> m.Publish:
    batch = memoryview(encode_batch([event(message_id)]))
    return m.Publish(request, "t", 0, batch, acks)


async def test_a_node_counts_once_its_copies_are_open(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is asked how far it is, and elected, must be able to answer, however long opening takes."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=2)
        node = nodes[info.leaders[0]]
        await node.kill()
        opens, hold = trio.Event(), Copies.hold

        async def hold_later(*args: Any) -> None:
            await opens.wait()
            await hold(*args)

        monkeypatch.setattr(Copies, "hold", hold_later)
        node.launch()
        await trio.sleep(10)
        seen = nodes.any.view
        assert seen.nodes[node.name].state is NodeState.FENCED
        assert not {node.name, NOBODY} & {*seen.topics["t"].leaders}
        opens.set()
        await node.settled()
        assert node.member.may_lead()
        assert nodes.any.view.nodes[node.name].state is NodeState.ALIVE

"""Requests find the node that leads, whatever happens to nodes and leaders meanwhile."""

from __future__ import annotations

import anyio
import pytest

from chronosdb.client import (
    ChronosError,
    Client,
    Event,
    NotFound,
    NotLeader,
    Overloaded,
    Timeout,
    columns,
    publisher,
)
from chronosdb.client.connection import CLUSTER_DEAD_S
from chronosdb.client.lane import IDLE_S
from chronosdb.wire import messages as m
from tests.client.fake_cluster import FakeCluster, client_of, cluster_and_client, running_cluster
from tests.client.fake_node import Peer, fails_with
from tests.client.virtual_time import both_backends

#: Keys of partitions 0 and 1 of three.
KEY_0, KEY_1 = b"c", b"g"


def events(count: int) -> list[Event]:
    return [Event(payload=b"x", message_id=f"id-{i}") for i in range(count)]


def published(cluster: FakeCluster) -> dict[str, set[int]]:
    """The partitions that each node was asked to publish to."""
    return {
        name: {message.partition for message in node.got(m.Publish)}
        for name, node in cluster.nodes.items()
    }


@both_backends
async def test_each_partition_is_published_to_at_its_leader() -> None:
    async with cluster_and_client(partitions=6) as (cluster, db):
        results = await db.publish_many("orders", events(60))
        assert [r.message_id for r in results] == [f"id-{i}" for i in range(60)]
        assert published(cluster) == {"n1": {0, 3}, "n2": {1, 4}, "n3": {2, 5}}


@both_backends
async def test_there_is_one_connection_to_each_node() -> None:
    """Also to the first, which is known under the name it gives itself."""
    async with cluster_and_client(partitions=6, addresses="n1") as (cluster, db):
        await db.publish_many("orders", events(60))
        await db.publish_many("orders", events(60))
        assert [len(node.dialled) for node in cluster.nodes.values()] == [1, 1, 1]


@both_backends
async def test_frames_to_several_leaders_do_not_wait_for_each_other() -> None:
    async with cluster_and_client() as (cluster, db):
        waiting: list[tuple[Peer, m.Message]] = []

        def hold(peer: Peer, message: m.Message) -> None:
            waiting.append((peer, message))
            if len(waiting) == 3:
                for one, held in waiting:
                    one.node._answer(one, held)

        for node in cluster.nodes.values():
            node.script(m.Publish, hold)
        assert len(await db.publish_many("orders", events(30))) == 30


@both_backends
async def test_every_request_about_a_partition_goes_to_its_leader() -> None:
    """Get here; the others go the same way (see `Cluster.call`)."""
    async with cluster_and_client() as (cluster, db):
        results = await db.publish_many("orders", events(9))
        for result in results:
            assert await db.get("orders", result.message_id) is not None
        for node in cluster.nodes.values():
            assert all(node.leads("orders", ask.partition) for ask in node.got(m.Get))


@both_backends
async def test_a_node_that_does_not_lead_says_who_does() -> None:
    """And is believed at once, without a wait."""
    async with cluster_and_client() as (cluster, db):
        cluster.lead("orders", 0, "n3", tell=False)
        began_s = anyio.current_time()
        for _ in range(3):
            await db.publish("orders", b"", key=KEY_1)
            await db.publish("orders", b"", key=KEY_0)
            await anyio.sleep(0.2)
        assert anyio.current_time() - began_s == pytest.approx(0.6)
        assert len(cluster["n1"].got(m.Publish)) == 1, "asked once, then it was known"


@both_backends
async def test_leaders_are_asked_for_again_when_a_node_says_that_they_changed() -> None:
    async with cluster_and_client() as (cluster, db):
        cluster.lead("orders", 0, "n3")
        await anyio.sleep(0.01)
        await db.publish("orders", b"", key=KEY_0)
        assert published(cluster) == {"n1": set(), "n2": set(), "n3": {0}}
        assert len(cluster["n1"].got(m.DescribeTopic)) == 1


@both_backends
async def test_the_node_that_says_so_is_the_one_that_is_asked() -> None:
    """Another one may not know yet; and what it says is older, and does not count."""
    async with cluster_and_client() as (cluster, db):
        await db.publish_many("orders", events(30))
        one = cluster["n1"]
        one.view = (cluster.version, cluster.leaders)
        cluster.lead("orders", 0, "n3")
        await anyio.sleep(0.2)
        assert sum(len(node.got(m.DescribeTopic)) for node in cluster.nodes.values()) <= 3
        cluster["n1"].received.clear()
        assert (await db.topic("orders")).leaders[0] == "n1:9000", "out of date"
        await db.publish("orders", b"", key=KEY_0)
        assert one.got(m.DescribeTopic)
        assert not one.got(m.Publish)


@both_backends
async def test_a_killed_leader_costs_the_time_until_there_is_another() -> None:
    """In the middle of a large publish over four partitions: every event is stored once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "FRAME_EVENTS", 50)
        patch.setattr(publisher, "IN_FLIGHT_BYTES", 10_000)
        async with (
            cluster_and_client(partitions=4) as (cluster, db),
            anyio.create_task_group() as tasks,
        ):

            async def kill() -> None:
                while len(cluster["n2"].got(m.Publish)) < 3:
                    await anyio.lowlevel.checkpoint()
                cluster.kill("n2")
                await anyio.sleep(2)
                cluster.fail_over("n2", "n3")

            tasks.start_soon(kill)
            began_s = anyio.current_time()
            results = await db.publish_many("orders", events(3_000))
            assert len({(r.partition, r.offset) for r in results}) == 3_000
            assert [r.message_id for r in results] == [f"id-{i}" for i in range(3_000)]
            assert 2 <= anyio.current_time() - began_s < 2.1


@both_backends
async def test_a_new_leader_is_found_although_nobody_tells() -> None:
    async with cluster_and_client() as (cluster, db), anyio.create_task_group() as tasks:
        cluster.kill("n2")
        tasks.start_soon(
            db.publish,
            "orders",
            b"",
        )
        began_s = anyio.current_time()

        async def publish() -> None:
            await db.publish("orders", b"", key=KEY_1)
            assert anyio.current_time() - began_s < 1.5 + 0.3

        tasks.start_soon(publish)
        await anyio.sleep(1.5)
        cluster.fail_over("n2", "n3", tell=False)


@both_backends
async def test_without_a_leader_the_deadline_says_so() -> None:
    async with cluster_and_client() as (cluster, db):
        cluster.lead("orders", 0, "")
        with pytest.raises(Overloaded, match="nobody leads"):
            await db.publish("orders", b"", key=KEY_0)
        asked = len(cluster["n1"].got(m.Publish)) + len(cluster["n1"].got(m.DescribeTopic))
        assert 40 < asked < 120, "looked for often, and not in a loop without a wait"


@both_backends
async def test_a_loop_of_nodes_that_name_each_other_ends_with_the_deadline() -> None:
    async with cluster_and_client() as (cluster, db):
        for one, other in (("n1", "n2:9000"), ("n2", "n1:9000")):
            refusal = NotLeader("no", details={"leader": other})
            cluster[one].script(m.Publish, *[fails_with(refusal)] * 1000)
        with pytest.raises(NotLeader):
            await db.publish("orders", b"", key=KEY_0)
        assert cluster.total(m.Publish) < 150


@both_backends
async def test_a_leader_that_falls_silent_is_left_when_others_say_that_it_leads_no_more() -> None:
    """Long before its connection is given up; and stored once, however often it was sent."""
    async with cluster_and_client() as (cluster, db), anyio.create_task_group() as tasks:
        await db.publish_many("orders", events(30))
        cluster["n2"].silent = True
        began_s = anyio.current_time()

        async def publish() -> None:
            await db.publish("orders", b"", key=KEY_1)
            assert anyio.current_time() - began_s < 2.5

        tasks.start_soon(publish)
        await anyio.sleep(1.2)
        cluster.fail_over("n2", "n3", tell=False)


@both_backends
async def test_a_silent_node_that_is_all_the_client_knows_is_left_for_one_it_has_heard_of() -> None:
    """It leads everything, so that there is a connection to no other."""
    async with (
        cluster_and_client(partitions=1) as (cluster, db),
        anyio.create_task_group() as tasks,
    ):
        await db.publish("orders", b"")
        cluster["n1"].silent = True
        began_s = anyio.current_time()

        async def publish() -> None:
            await db.publish("orders", b"")
            assert anyio.current_time() - began_s < 3

        tasks.start_soon(publish)
        await anyio.sleep(1.5)
        cluster.fail_over("n1", "n3", tell=False)


@both_backends
async def test_a_first_node_that_falls_silent_is_no_reason_to_know_nothing() -> None:
    async with cluster_and_client() as (cluster, db), anyio.create_task_group() as tasks:
        await db.publish_many("orders", events(30))
        cluster["n1"].silent = True
        began_s = anyio.current_time()

        async def publish() -> None:
            await db.publish("orders", b"", key=KEY_0)
            assert anyio.current_time() - began_s < 5

        tasks.start_soon(publish)
        await anyio.sleep(1.2)
        cluster.fail_over("n1", "n3", tell=False)


@both_backends
async def test_a_silent_node_of_a_cluster_is_given_up_within_a_usual_deadline() -> None:
    async with cluster_and_client() as (cluster, db):
        cluster["n1"].silent = True
        began_s = anyio.current_time()
        await db.topics()
        assert anyio.current_time() - began_s < CLUSTER_DEAD_S + 6
        assert cluster["n2"].got(m.ListTopics) or cluster["n3"].got(m.ListTopics)


@both_backends
async def test_the_loss_of_all_nodes_that_were_given_is_survived() -> None:
    """The others are known from what nodes say of topics."""
    async with cluster_and_client(addresses="n1") as (cluster, db):
        cluster.kill("n1")
        cluster.fail_over("n1", "n2")
        assert (await db.publish("orders", b"", key=KEY_0)).partition == 0
        assert [topic.name for topic in await db.topics()] == ["orders"]


@both_backends
async def test_nodes_that_came_later_are_known_too() -> None:
    async with cluster_and_client(addresses="n1") as (cluster, db):
        cluster.add("n4")
        cluster.lead("orders", 0, "n4")
        await anyio.sleep(1)
        for name in ("n1", "n2", "n3"):
            cluster.kill(name)
            cluster.fail_over(name, "n4")
        await db.publish_many("orders", events(30))
        assert published(cluster)["n4"] == {0, 1, 2}


@both_backends
async def test_a_dead_address_among_those_given_does_not_matter() -> None:
    async with running_cluster() as cluster:
        cluster.kill("n1")
        async with client_of(cluster, "n1,n2") as db:
            await db.create_topic("orders", 3)
            cluster.fail_over("n1", "n2")
            await db.publish_many("orders", events(30))


@both_backends
async def test_a_node_that_lacks_a_new_topic_is_only_late() -> None:
    async with cluster_and_client() as (cluster, db):
        refusal = fails_with(NotFound("no topic orders"))
        cluster["n2"].script(m.Publish, *[refusal] * 3)
        assert (await db.publish("orders", b"", key=KEY_1)).offset == 0


@both_backends
async def test_a_topic_that_no_node_has_is_not_found() -> None:
    async with cluster_and_client() as (cluster, db):
        cluster.topics.clear()
        with pytest.raises(NotFound):
            await db.publish("orders", b"", key=KEY_1)


@both_backends
async def test_a_connection_that_nobody_uses_is_closed() -> None:
    async with cluster_and_client() as (cluster, db):
        await db.publish_many("orders", events(30))
        await anyio.sleep(2 * IDLE_S)
        assert [len(node.peers) for node in cluster.nodes.values()] == [1, 0, 0]
        await db.publish_many("orders", events(30))
        assert [len(node.dialled) for node in cluster.nodes.values()] == [1, 2, 2]


@both_backends
async def test_a_node_of_another_cluster_is_not_taken_for_a_leader() -> None:
    async with cluster_and_client() as (cluster, db):

        def stranger(peer: Peer, _hello: m.Message) -> None:
            peer.say(m.Welcome(1, "other", "n2", 0, 2**24, "n2:9000"))

        cluster["n2"].script(m.Hello, *[stranger] * 1000)
        with pytest.raises(Exception, match="belongs to another cluster"):
            await db.publish("orders", b"", key=KEY_1)
        assert not cluster["n2"].got(m.Publish)


@both_backends
async def test_leaving_says_goodbye_to_every_node() -> None:
    async with running_cluster() as cluster:
        async with client_of(cluster) as db:
            await db.create_topic("orders", 3)
            await db.publish_many("orders", events(30))
        await anyio.wait_all_tasks_blocked()
        for node in cluster.nodes.values():
            assert isinstance(node.received[-1], m.Closing)
            assert not node.peers


@both_backends
async def test_a_publish_that_is_never_answered_ends_with_the_deadline() -> None:
    async with cluster_and_client() as (cluster, db):
        await db.publish_many("orders", events(30))
        cluster["n2"].script(m.Publish, *[lambda _peer, _message: None] * 9)
        with pytest.raises(Timeout):
            await db.publish("orders", b"", key=KEY_1)


@both_backends
async def test_a_request_that_waits_for_a_leader_ends_with_the_client() -> None:
    async with running_cluster() as cluster:
        outcomes: list[str] = []

        async def publish(db: Client) -> None:
            try:
                await db.publish("orders", b"", key=KEY_1)
            except ChronosError as error:
                outcomes.append(error.message)

        async with anyio.create_task_group() as tasks:
            async with client_of(cluster) as db:
                await db.create_topic("orders", 3)
                cluster.lead("orders", 1, "")
                for _ in range(3):
                    tasks.start_soon(publish, db)
                    await anyio.sleep(0.13)
            began_s = anyio.current_time()
        assert len(outcomes) == 3
        assert anyio.current_time() - began_s <= 10

"""One member, several nodes: deliveries from all of them, acks to whoever leads, credits shared."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from chronosdb.client import Client, Delivery, Event, LeaseLost, NotFound, NotLeader, Subscription
from chronosdb.client.attachment import Terms
from chronosdb.client.inbox import Inbox
from chronosdb.client.membership import FIRST_ASK_S, TURN_S
from chronosdb.client.seat import Seat
from chronosdb.wire import messages as m
from tests.client.fake_cluster import FakeCluster, client_of, cluster_and_client, running_cluster
from tests.client.fake_node import fails_with
from tests.client.virtual_time import both_backends


async def publish(db: Client, count: int) -> None:
    await db.publish_many("orders", [Event(payload=b"", message_id=f"e{i}") for i in range(count)])


async def take(events: Subscription, count: int) -> list[Delivery]:
    return [await anext(events) for _ in range(count)]


def settled(cluster: FakeCluster) -> int:
    return sum(len(cursor.settled) for cursor in cluster.cursors.values())


def granted(cluster: FakeCluster) -> dict[str, int]:
    """Credits that each node has not spent."""
    return {
        name: sum(member.credits for member in node.members) for name, node in cluster.nodes.items()
    }


@both_backends
async def test_deliveries_come_from_every_leader() -> None:
    async with cluster_and_client() as (cluster, db):
        await publish(db, 60)
        async with db.consume("orders", group="g") as events:
            found = await take(events, 60)
            assert {event.message_id for event in found} == {f"e{i}" for i in range(60)}
            assert Counter(event.partition for event in found).keys() == {0, 1, 2}
            for event in found:
                await event.ack()
        assert settled(cluster) == 60
        assert [len(node.got(m.Unsubscribe)) for node in cluster.nodes.values()] == [1, 1, 1]


@both_backends
async def test_acks_go_to_the_leader_of_their_partition() -> None:
    async with cluster_and_client() as (cluster, db):
        await publish(db, 60)
        async with db.consume("orders", group="g") as events:
            count = 0
            async for batch in events.batches():
                await batch.ack()
                count += len(batch)
                if count == 60:
                    break
        for node in cluster.nodes.values():
            assert all(node.leads("orders", ack.partition) for ack in node.got(m.Ack))


@both_backends
async def test_a_member_has_one_name_everywhere_and_another_each_time() -> None:
    async with cluster_and_client() as (cluster, db):
        for _ in range(2):
            async with db.consume("orders", group="g"):
                pass
        names = [[s.member for s in node.got(m.Subscribe)] for node in cluster.nodes.values()]
        assert names[0] == names[1] == names[2]
        first, second = names[0]
        assert first
        assert first != second


@both_backends
async def test_joining_waits_for_every_node() -> None:
    """So that a new group that starts at the latest misses nothing from then on."""
    async with cluster_and_client() as (cluster, db), db.consume("orders", group="g"):
        assert [len(node.members) for node in cluster.nodes.values()] == [1, 1, 1]


@both_backends
async def test_joining_does_not_wait_for_a_dead_node_for_ever() -> None:
    async with cluster_and_client() as (cluster, db):
        cluster.kill("n3")
        async with db.consume("orders", group="g"):
            assert [len(node.members) for node in cluster.nodes.values()] == [1, 1, 0]


@both_backends
async def test_joining_at_no_node_says_why() -> None:
    async with cluster_and_client() as (cluster, db):
        for node in cluster.nodes.values():
            node.script(m.Subscribe, *[fails_with(NotLeader("not yet"))] * 1000)
        with pytest.raises(NotLeader, match="not yet"):
            async with db.consume("orders", group="g"):
                raise AssertionError("not reached")


@both_backends
async def test_a_topic_that_does_not_exist_is_not_found() -> None:
    async with cluster_and_client() as (_, db):
        with pytest.raises(NotFound, match="no topic nothing"):
            async with db.consume("nothing", group="g"):
                raise AssertionError("not reached")


@both_backends
async def test_the_loss_of_one_node_does_not_disturb_the_others() -> None:
    """What it had sent and nobody had seen comes again, from the new leader; nothing else does."""
    async with cluster_and_client() as (cluster, db):
        await publish(db, 60)
        async with db.consume("orders", group="g") as events:
            await anyio.wait_all_tasks_blocked()
            cluster.kill("n2")
            await anyio.sleep(2)
            cluster.fail_over("n2", "n3")
            found = await take(events, 60)
            assert {event.message_id for event in found} == {f"e{i}" for i in range(60)}
            assert {(e.partition, e.attempt) for e in found} == {(0, 1), (1, 2), (2, 1)}
            assert cluster.total(m.Subscribe) == 3, "the new leader had a member already"


@both_backends
async def test_an_event_in_hand_is_acked_at_the_new_leader() -> None:
    async with cluster_and_client() as (cluster, db):
        await publish(db, 60)
        async with db.consume("orders", group="g") as events:
            held = await take(events, 60)
            cluster.kill("n2")
            cluster.fail_over("n2", "n1")
            for event in held:
                await event.ack()
            assert settled(cluster) == 60


@both_backends
async def test_an_ack_waits_until_there_is_a_leader() -> None:
    """And those of other partitions do not wait with it."""
    async with cluster_and_client() as (cluster, db), anyio.create_task_group() as tasks:
        await publish(db, 60)
        async with db.consume("orders", group="g") as events:
            batches = events.batches()
            whole = [await anext(batches)]
            while sum(map(len, whole)) < 60:
                whole.append(await anext(batches))
            cluster.kill("n2")
            for batch in whole:
                tasks.start_soon(batch.ack)
            await anyio.sleep(1)
            elsewhere = len(cluster.cursor_of(0)) + len(cluster.cursor_of(2))
            assert settled(cluster) == elsewhere < 60
            cluster.fail_over("n2", "n1")
            await anyio.sleep(1)
            assert settled(cluster) == 60


@both_backends
async def test_a_lease_ends_with_the_term_of_its_leader() -> None:
    """Also when the node goes on living and leads other partitions."""
    async with cluster_and_client(partitions=6) as (cluster, db):
        await publish(db, 60)
        async with db.consume("orders", group="g") as events:
            held = next(e for e in await take(events, 60) if e.partition == 1)
            cluster.lead("orders", 1, "n3", tell=False)
            for attempt in (held.extend(5), held.nack()):
                with pytest.raises(LeaseLost):
                    await attempt


@both_backends
async def test_a_partition_that_moves_takes_its_member_along() -> None:
    async with (
        cluster_and_client(partitions=1) as (cluster, db),
        db.consume("orders", group="g") as events,
    ):
        cluster.lead("orders", 0, "n2")
        await anyio.sleep(0.5)
        assert [len(node.members) for node in cluster.nodes.values()] == [0, 1, 0]
        await publish(db, 5)
        assert [event.attempt for event in await take(events, 5)] == [1] * 5


@both_backends
async def test_a_move_that_nobody_told_is_noticed_before_long() -> None:
    async with (
        cluster_and_client(partitions=1) as (cluster, db),
        db.consume("orders", group="g") as events,
    ):
        cluster.lead("orders", 0, "n2", tell=False)
        async with client_of(cluster, "n2") as other:
            await other.publish("orders", b"")
        with anyio.fail_after(20):
            await anext(events)


@both_backends
async def test_a_member_that_has_just_joined_soon_asks_again_who_leads() -> None:
    """It may have joined while leaders were elected, and was told of those of before."""
    async with (
        cluster_and_client(partitions=1) as (cluster, db),
        db.consume("orders", group="g"),
    ):
        cluster.lead("orders", 0, "n2", tell=False)
        await anyio.sleep(2 * FIRST_ASK_S)
        assert cluster.nodes["n2"].members


@both_backends
async def test_credits_are_split_and_never_exceeded() -> None:
    """Whatever is with the nodes, buffered and in hand: together no more than the user allows."""
    async with (
        cluster_and_client() as (cluster, db),
        db.consume("orders", group="g", credits=10) as events,
    ):
        await anyio.sleep(0.5)
        assert sorted(granted(cluster).values()) == [3, 3, 4]
        await publish(db, 300)
        held = await take(events, 10)
        with anyio.move_on_after(5) as waited:
            await anext(events)
        assert waited.cancelled_caught
        assert granted(cluster) == {"n1": 0, "n2": 0, "n3": 0}
        for event in held:
            await event.ack()
        assert len(await take(events, 10)) == 10


@both_backends
async def test_credits_move_when_nodes_come_and_go() -> None:
    async with cluster_and_client() as (cluster, db):
        for number in (1, 2):
            cluster.lead("orders", number, "n1")
        async with db.consume("orders", group="g", credits=9):
            assert granted(cluster) == {"n1": 9, "n2": 0, "n3": 0}
            cluster.lead("orders", 1, "n2")
            await anyio.sleep(1)
            assert sorted(granted(cluster).values()) == [0, 4, 5]
            cluster.lead("orders", 2, "n3")
            await anyio.sleep(1)
            assert granted(cluster) == {"n1": 3, "n2": 3, "n3": 3}
            cluster.kill("n2")
            cluster.fail_over("n2", "n1")
            await anyio.sleep(1)
            assert sorted(granted(cluster).values()) == [0, 4, 5]


@both_backends
async def test_one_credit_is_handed_round() -> None:
    """Three nodes have events, and the application wants one at a time."""
    async with cluster_and_client() as (cluster, db):
        await publish(db, 30)
        async with db.consume("orders", group="g", credits=1) as events:
            for _ in range(30):
                with anyio.fail_after(4 * TURN_S):
                    event = await anext(events)
                assert sum(granted(cluster).values()) == 0
                assert sum(len(cursor.leases) for cursor in cluster.cursors.values()) == 1
                await event.ack()
        assert settled(cluster) == 30


@both_backends
async def test_what_the_application_does_not_hold_reaches_every_node() -> None:
    """It keeps two of three credits for ever; events of each node come all the same."""
    async with (
        cluster_and_client() as (cluster, db),
        db.consume("orders", group="g", credits=3) as events,
    ):
        await publish(db, 30)
        kept = await take(events, 2)
        for _ in range(28):
            with anyio.fail_after(4 * TURN_S):
                event = await anext(events)
            assert sum(len(cursor.leases) for cursor in cluster.cursors.values()) == 3
            await event.ack()
        assert settled(cluster) == 28
        for event in kept:
            await event.ack()
        await anyio.sleep(1)
        assert granted(cluster) == {"n1": 1, "n2": 1, "n3": 1}


@both_backends
async def test_a_node_whose_events_are_kept_gets_credits_that_others_do_not_use() -> None:
    async with (
        cluster_and_client() as (cluster, db),
        db.consume("orders", group="g", credits=9) as events,
    ):
        await db.publish_many("orders", [Event(payload=b"", key=b"one partition")] * 20)
        for _ in range(9):
            with anyio.fail_after(4 * TURN_S):
                await anext(events)
            leased = sum(len(cursor.leases) for cursor in cluster.cursors.values())
            assert leased + sum(granted(cluster).values()) <= 9
        assert (leased, sum(granted(cluster).values())) == (9, 0)


@both_backends
async def test_credits_rest_while_every_node_has_some() -> None:
    async with cluster_and_client() as (cluster, db), db.consume("orders", group="g", credits=4):
        await anyio.sleep(1)
        before = cluster.total(m.Recall), cluster.total(m.Credit)
        await anyio.sleep(10)
        assert (cluster.total(m.Recall), cluster.total(m.Credit)) == before


@both_backends
async def test_a_refusal_for_good_ends_the_membership_everywhere() -> None:
    async with cluster_and_client() as (cluster, db), db.consume("orders", group="g") as events:
        cluster.topics.clear()
        cluster["n2"].cut_all()
        with pytest.raises(NotFound):
            await anext(events)
        await anyio.wait_all_tasks_blocked()
        assert [node.members for node in cluster.nodes.values()] == [[], [], []]


@both_backends
async def test_a_member_without_leaders_waits_for_one() -> None:
    """A topic whose partitions have none yet."""
    async with running_cluster() as cluster, client_of(cluster) as db:
        await db.create_topic("orders", 2)
        cluster.lead("orders", 0, "")
        cluster.lead("orders", 1, "")
        async with db.consume("orders", group="g") as events:
            cluster.lead("orders", 0, "n2")
            cluster.lead("orders", 1, "n3")
            await publish(db, 10)
            assert len(await take(events, 10)) == 10
            assert [len(node.members) for node in cluster.nodes.values()] == [0, 1, 1]


@both_backends
async def test_a_seat_that_is_left_while_the_answer_comes_is_left() -> None:
    """The wait for the answer ends with it, and not by being cancelled."""
    async with cluster_and_client() as (cluster, db), anyio.create_task_group() as tasks:
        cluster["n1"].script(m.Subscribe, lambda _peer, _message: None)
        terms = Terms("orders", "g", "shared", "earliest", "member")
        inbox = Inbox(10)
        seat = Seat(
            db._cluster, "n1:9000", number=1, terms=terms, inbox=inbox, changed=lambda: None
        )
        tasks.start_soon(seat.keep)
        await anyio.wait_all_tasks_blocked()
        connection = await db._cluster.node("n1:9000")
        [subscribe] = cluster["n1"].got(m.Subscribe)
        connection._resolve(subscribe.request, m.Done(subscribe.request))
        seat.leave()
        await anyio.wait_all_tasks_blocked()
        seat.return_credits()
        assert not seat.confirmed
        assert (inbox.credits.granted, inbox.credits.spare) == (0, 10)

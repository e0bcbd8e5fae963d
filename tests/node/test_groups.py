"""Who is sent what: groups, their modes, their members' coming and going, and where they start."""

from __future__ import annotations

from collections import Counter

import pytest
from trio.testing import MockClock

from chronosdb.wire import messages as m
from chronosdb.wire.errors import Conflict, LeaseLost, NotFound
from tests.support.in_process import START_MS, topic_broker
from tests.support.partition_log import read_log
from tests.support.raw_client import Delivery, RawClient, event


async def publish_everywhere(client: RawClient, name: str, partitions: int) -> None:
    """One event in each partition."""
    for partition in range(partitions):
        await client.publish(event(f"{name}{partition}"), partition=partition)


def partitions_of(deliveries: list[Delivery]) -> set[int]:
    return {d.partition for d in deliveries}


async def test_an_ordered_group_gives_each_partition_to_one_member(clock: MockClock) -> None:
    """Evenly; and a member that comes takes as few from the others as it can."""
    async with topic_broker(clock, partitions=6) as (node, a):
        b, c = await node.connect(), await node.connect()
        await a.subscribe(mode="ordered")
        await publish_everywhere(a, "one", 6)
        assert partitions_of(await a.events(6)) == set(range(6))
        await b.subscribe(mode="ordered")
        await publish_everywhere(a, "two", 6)
        held = [partitions_of(await a.events(3)), partitions_of(await b.events(3))]
        assert held[0] | held[1] == set(range(6))
        await c.subscribe(mode="ordered")
        await publish_everywhere(a, "three", 6)
        new = [partitions_of(await client.events(2)) for client in (a, b, c)]
        assert new[0] < held[0]
        assert new[1] < held[1]
        assert new[0] | new[1] | new[2] == set(range(6))


async def test_the_partitions_of_an_ordered_member_that_leaves_go_to_the_others(
    clock: MockClock,
) -> None:
    """With what it had not acked, in order, before anything new (I6)."""
    async with topic_broker(clock, partitions=2) as (node, a):
        b = await node.connect()
        await a.subscribe(mode="ordered")
        await b.subscribe(mode="ordered")
        for i in range(3):
            await publish_everywhere(a, f"e{i}.", 2)
        got = await b.events(3)
        await a.events(3)
        await b.ack(got[0])
        await b.close()
        again = await a.events(2)
        assert [d.position for d in again] == [1, 2]
        assert partitions_of(again) == partitions_of(got)
        assert [d.attempt for d in again] == [2, 2]


async def test_a_shared_group_has_more_workers_than_partitions(clock: MockClock) -> None:
    """Every member gets work, and no position is with two of them at a time."""
    async with topic_broker(clock) as (node, client):
        workers = [await node.connect() for _ in range(5)]
        for worker in workers:
            await worker.subscribe(credit=4)
        await client.publish(*(event(f"e{i}") for i in range(20)))
        got = [await worker.events(4) for worker in workers]
        assert Counter(d.position for one in got for d in one) == Counter(range(20))


async def test_a_member_without_credit_leaves_its_share_to_others(clock: MockClock) -> None:
    """Nobody waits for the slow (I16)."""
    async with topic_broker(clock) as (node, slow):
        quick = await node.connect()
        await slow.subscribe(credit=1)
        await quick.subscribe(credit=100)
        await slow.publish(*(event(f"e{i}") for i in range(10)))
        assert len(await quick.events(9)) == 9


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("earliest", ["old", "middle", "new"]),
        ("latest", ["new"]),
        (0, ["old", "middle", "new"]),
        (START_MS + 2000, ["middle", "new"]),
        (START_MS + 10**12, ["new"]),
    ],
)
async def test_a_new_group_starts_where_it_is_told(
    clock: MockClock, start: str | int, expected: list[str]
) -> None:
    """At the first event, at the next one, or at what fired from a time on."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("old", START_MS + 1000), event("middle", START_MS + 3000))
        await node.advance(1000)
        await node.advance(4000)
        await client.subscribe(start=start)
        await client.publish(event("new"))
        assert [d.message_id for d in await client.drain(1000)] == expected


async def test_a_group_that_exists_stays_where_it_is_whatever_start_says(clock: MockClock) -> None:
    """Also after a restart (I7)."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a"), event("b"))
        await client.subscribe(start="latest")
        await node.restart()
        await client.reconnect()
        await client.publish(event("c"))
        await client.subscribe(start="earliest")
        assert [d.message_id for d in await client.drain(1000)] == ["c"]


async def test_a_group_keeps_its_mode(clock: MockClock) -> None:
    """The other one is a Conflict, also after a restart."""
    async with topic_broker(clock) as (node, client):
        await client.subscribe(mode="ordered")
        with pytest.raises(Conflict, match="ordered"):
            await client.subscribe(mode="shared")
        await node.restart()
        await client.reconnect()
        with pytest.raises(Conflict, match="ordered"):
            await client.subscribe(mode="shared")
        await client.subscribe(mode="ordered")


async def test_two_members_that_create_a_group_together_create_it_once(clock: MockClock) -> None:
    """An event that fires between the two requests is not skipped by the second."""
    async with topic_broker(clock) as (node, a):
        b = await node.connect()
        await a.publish(event("between", START_MS + 1000))
        with node.threads.held("_write"):
            await node.advance(1000)  # the event is being fired
            await a.post(m.Subscribe(90, 1, "t", "g", "shared", "latest", 10))
            await a.drain(1)
        with node.threads.held("_write"):
            await a.drain(1)  # it has fired, and the group is being created
            await b.post(m.Subscribe(91, 1, "t", "g", "shared", "latest", 10))
            await b.drain(1)
        await b.reply(91)
        got = await a.drain(10) + await b.drain(10)
        assert read_log(node.disk).groups == [("g", 0)]
        assert [d.message_id for d in got] == ["between"]


async def test_ending_a_subscription_that_has_not_begun_leaves_no_ghost(clock: MockClock) -> None:
    """The partition goes to who is there, not to who left while joining (I16)."""
    async with topic_broker(clock) as (node, hasty):
        patient = await node.connect()
        with node.threads.held("_write"):
            await hasty.post(m.Subscribe(90, 1, "t", "g", "ordered", "earliest", 10))
            await hasty.drain(1)
            await hasty.post(m.Ack(91, 1, 0, memoryview(bytes(8) + b"\1" + bytes(7))))
            await hasty.post(m.Unsubscribe(92, 1))
            await hasty.drain(1)
        with pytest.raises(NotFound, match="ended before it had begun"):
            await hasty.reply(90)
        with pytest.raises(NotFound, match="no subscription 1"):
            await hasty.reply(91)
        await hasty.reply(92)
        await patient.subscribe(mode="ordered")
        await patient.publish(event("a"))
        assert (await patient.next_event(within_ms=100)).message_id == "a"
        assert await hasty.drain() == []


async def test_one_connection_may_have_many_subscriptions(clock: MockClock) -> None:
    """To several groups and topics; a number in use is a Conflict, and free again after its end."""
    async with topic_broker(clock) as (_, client):
        await client.create_topic("u")
        first = await client.subscribe("g1")
        await client.subscribe("g2")
        await client.subscribe("g1", topic="u")
        await client.publish(event("a"))
        await client.publish(event("b"), topic="u")
        assert sorted(d.message_id for d in await client.events(3)) == ["a", "a", "b"]
        with pytest.raises(Conflict, match="subscription"):
            await client.call(m.Subscribe, first, "t", "g3", "shared", "earliest", 1)
        await client.unsubscribe(first)
        await client.call(m.Subscribe, first, "t", "g3", "shared", "earliest", 1)


async def test_what_a_member_lost_it_may_not_nack(clock: MockClock) -> None:
    """A lease that went to another is not taken away from it."""
    async with topic_broker(clock, partitions=1) as (node, a):
        number = await a.subscribe(mode="ordered")
        await a.publish(event("a"))
        lost = await a.next_event()
        b = await node.connect()
        await b.subscribe(mode="ordered")
        await a.unsubscribe(number)
        await b.next_event()
        await a.call(m.Subscribe, number, "t", "g", "ordered", "earliest", 10)
        with pytest.raises(LeaseLost):
            await a.nack(lost)
        assert await b.drain(10) == []

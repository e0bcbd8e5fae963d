"""Dead letters whose topic is led by another node than their event's."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from tests.support.cluster_member import Attached, attached, publish
from tests.support.in_cluster import Cluster, cluster
from tests.support.raw_client import Delivery, event

PARTITIONS = 6


async def letters(nodes: Cluster, ms: float = 3000) -> list[Delivery]:
    """What arrives for a new group of the dead-letter topic."""
    number = trio.current_time()
    reader = Attached("reader", f"dead{number}", {n.name: await n.connect() for n in nodes.running})
    for node, client in reader.clients.items():
        reader.subscriptions[node] = await client.subscribe(
            reader.group, topic="t.dlq", member="reader"
        )
    got = await reader.drain(ms)
    await reader.vanish()
    return got


async def all_nacked(nodes: Cluster) -> None:
    """One event of each partition, given back for good by its only member."""
    await nodes.topic(partitions=PARTITIONS, max_attempts=1)
    member = await attached(nodes, "a", mode="shared")
    for partition in range(PARTITIONS):
        await publish(nodes, partition, event(f"e{partition}"))
    for delivery in await member.drain(500):
        client = member.clients[member.sender[delivery.partition, delivery.position, 1]]
        await client.nack(delivery, reason="no good")


async def test_dead_letters_find_their_topic_wherever_it_is_led(clock: MockClock) -> None:
    """From every partition, with their reason; and the group has nothing left of them."""
    async with cluster(clock) as nodes:
        await all_nacked(nodes)
        got = await letters(nodes)
        info = await nodes.led("t.dlq")
        assert set(nodes.any.view.topics["t"].leaders) - set(info.leaders)
        assert sorted(d.meta["message_id"] for d in got) == [f"e{p}" for p in range(PARTITIONS)]
        assert {d.meta["reason"] for d in got} == {"no good"}


async def test_dead_letters_wait_until_their_topic_can_be_reached(clock: MockClock) -> None:
    """Then each arrives once, however often it was tried."""
    async with cluster(clock) as nodes:
        await nodes.topic("t.dlq", partitions=1)
        lonely = (await nodes.led("t.dlq")).leaders[0]
        nodes.hosts.isolate(lonely, [name for name in nodes.nodes if name != lonely])
        nodes.hosts.heal()
        await all_nacked(nodes)
        got = await letters(nodes, 10_000)
        assert len(got) == len({d.message_id for d in got}) == PARTITIONS

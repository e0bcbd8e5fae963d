"""The client library against three real nodes, one of which loses its power."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from chronosdb.client import Client, Event, columns, publisher
from tests.support.in_cluster import Cluster, cluster

PARTITIONS = 4


def events(count: int) -> list[Event]:
    return [Event(payload=b"x" * 100, message_id=f"e{i}") for i in range(count)]


@asynccontextmanager
async def nodes_and_client(clock: MockClock) -> AsyncIterator[tuple[Cluster, Client]]:
    """Three nodes with the topic "t", three copies of each partition; and a client."""
    async with cluster(clock) as nodes, nodes.library() as db:
        await db.create_topic("t", PARTITIONS, replication=3, min_insync=2, acks="quorum")
        await nodes.led("t")
        yield nodes, db


async def lose_a_leader(nodes: Cluster) -> str:
    """The power of a node that leads something goes, soon."""
    await trio.sleep(0.05)
    info = await nodes.led("t")
    await nodes[info.leaders[0]].kill()
    return info.leaders[0]


@pytest.mark.slow
async def test_a_large_publish_outlives_a_leader(clock: MockClock) -> None:
    """Every event is stored, once, and has its place; the next publish takes a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "FRAME_EVENTS", 20)
        patch.setattr(publisher, "IN_FLIGHT_BYTES", 10_000)
        async with nodes_and_client(clock) as (nodes, db), trio.open_nursery() as nursery:
            nursery.start_soon(lose_a_leader, nodes)
            results = []
            for part in range(10):
                batch = [Event(payload=b"", message_id=f"{part}-{i}") for i in range(300)]
                results += await db.publish_many("t", batch)
                await trio.sleep(0.01)
            assert len({(r.partition, r.offset) for r in results}) == 3_000
            stored = [event.message_id async for event in db.replay("t")]
            assert sorted(stored) == sorted(r.message_id for r in results)


@pytest.mark.slow
async def test_a_consumer_outlives_a_leader(clock: MockClock) -> None:
    """It gets every event, and an ack of before the loss counts."""
    async with nodes_and_client(clock) as (nodes, db):
        await db.publish_many("t", events(100))
        async with db.consume("t", group="g", credits=30) as deliveries:
            seen = set()
            held = [await anext(deliveries) for _ in range(30)]
            await lose_a_leader(nodes)
            for event in held:
                await event.ack()
                seen.add(event.message_id)
            with trio.fail_after(20):
                async for event in deliveries:
                    await event.ack()
                    seen.add(event.message_id)
                    if len(seen) == 100:
                        break
        group = await db.group("t", "g")
        assert sum(partition.lag for partition in group.partitions) == 0


@pytest.mark.slow
async def test_a_consumer_does_not_notice_that_leaders_move(clock: MockClock) -> None:
    """Nothing is delivered again but what it had in hand or in its buffer."""
    async with nodes_and_client(clock) as (nodes, db), db.consume("t", group="g") as deliveries:
        for round_ in range(2):
            info = await nodes.led("t")
            to = next(n for n in nodes.nodes if n != info.leaders[0])
            await db.cluster.transfer(to, topic="t", partition=0)
            await trio.sleep(3)
            batch = [Event(payload=b"", message_id=f"{round_}-{i}") for i in range(20)]
            await db.publish_many("t", batch)
            with trio.fail_after(10):
                found = [await anext(deliveries) for _ in range(20)]
            assert {event.attempt for event in found} == {1}
            for event in found:
                await event.ack()


async def test_a_replay_outlives_a_leader(clock: MockClock) -> None:
    """In order, nothing missing, nothing twice."""
    async with nodes_and_client(clock) as (nodes, db):
        await db.publish_many("t", events(400))
        replay = db.replay("t", by="published")
        found = [(await anext(replay)).message_id for _ in range(50)]
        await lose_a_leader(nodes)
        found += [event.message_id async for event in replay]
        assert len(found) == 400
        assert set(found) == {f"e{i}" for i in range(400)}


@pytest.mark.parametrize("acks", ["leader", "quorum", "all"])
async def test_a_publish_waits_for_the_disks_that_it_names(clock: MockClock, acks: str) -> None:
    async with nodes_and_client(clock) as (_, db):
        assert not (await db.publish("t", b"", acks=acks)).duplicate

"""A disk that fails, and one that fills up: fail-stop for the one (I15), shedding for the other."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from chronosdb.raft import MetadataFailedError
from chronosdb.wal import LogDamaged, LogFailed
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument, Overloaded
from tests.support.in_process import START_MS, topic_broker
from tests.support.raw_client import Delivery, RawClient, event

KB = 1024
LOG = "/data/partitions/1-0/00000000000000000000.log"


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
async def test_the_first_failed_write_or_sync_is_the_end_of_the_node(
    clock: MockClock, call: str
) -> None:
    """With the reason; and what was waiting for it gets no answer, good or bad."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + 60_000))
        node.disk.fail_at(["pwrite", "fdatasync"].index(call) + 1)
        request = await client.publish_later(event("b", START_MS + 60_000))
        [failed] = await node.failure()
        assert isinstance(failed, LogFailed)
        assert "injected" in str(failed) or "Input/output error" in str(failed)
        with pytest.raises(trio.EndOfChannel):
            await client.reply(request)
        await node.crash()
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert (await client.next_event()).message_id == "a"


async def test_a_failed_sync_is_not_tried_again(clock: MockClock) -> None:
    """A second one would succeed, and lie: after a power cut the bytes are not there."""
    async with topic_broker(clock) as (node, client):
        node.disk.fail_at(2)
        await client.publish_later(event("a"))
        await node.failure()
        assert node.disk.calls[-2:] == ["pwrite", "fdatasync"]


async def test_a_failed_metadata_write_ends_the_node_too(clock: MockClock) -> None:
    """A topic that could not be recorded is not acked."""
    async with topic_broker(clock) as (node, client):
        node.disk.fail_at(1)
        with pytest.raises(trio.EndOfChannel):
            await client.create_topic("u")
        assert any(isinstance(e, MetadataFailedError) for e in await node.failure())
        await node.crash()


async def test_a_disk_that_fails_while_a_topic_is_made_ends_the_node(clock: MockClock) -> None:
    """At whichever call; and the next start makes the topic whole, or knows nothing of it."""
    for n in count(1):
        async with topic_broker(clock) as (node, client):
            node.disk.fail_at(n)
            await client.post(m.CreateTopic(77, "u", 1, {}))
            with suppress(trio.EndOfChannel):
                await client.drain(1)
            if node.disk.armed:
                await node.crash()
                break
            assert await node.failure()
            await node.crash()
            await node.start()
            await client.reconnect()
            await client.create_topic("u")
            await client.publish(event("a"), topic="u")
    assert n > 20


async def test_damage_in_the_middle_stops_the_start_and_changes_nothing(clock: MockClock) -> None:
    """Later records are not thrown away silently (I14)."""
    async with topic_broker(clock) as (node, client):
        for i in range(10):
            await client.publish(event(f"e{i}", START_MS + 10**6, b"x" * 100))
        await node.stop()
        at = node.disk.size(LOG) // 2
        whole = node.disk.read_file(LOG)
        node.disk.damage(LOG, at, bytes([whole[at] ^ 1]))
        with pytest.raises(LogDamaged, match="1-0"):
            await node.start()
        node.disk.damage(LOG, at, whole[at : at + 1])
        assert node.disk.read_file(LOG) == whole
        await node.start()
        await client.reconnect()
        await client.subscribe()
        await node.advance(START_MS + 10**6 - node.now_ms)
        assert len(await client.events(10)) == 10


async def fill_up(client: RawClient) -> None:
    """Publishes events of a later hour until no more is taken."""
    try:
        for i in range(1000):
            await client.publish(event(f"fill{i}", START_MS + 3_600_000, b"x" * 20 * KB))
    except Overloaded as error:
        assert "no disk space" in str(error)  # noqa: PT017 - it is raised at a step nobody knows
        assert i
    else:
        pytest.fail("the disk takes everything")


SMALL: dict[str, Any] = {"segment_bytes": 1_000_000, "disk_reserve_bytes": 300 * KB}


async def test_a_full_disk_refuses_events_and_serves_those_it_has(clock: MockClock) -> None:
    """What is stored fires, is delivered and acked from the reserve; space lets publishing go on."""
    async with topic_broker(clock, **SMALL) as (node, client):
        await client.publish(*(event(f"e{i}", START_MS + 1000 * i) for i in range(60)))
        await client.subscribe()
        node.disk.capacity = node.disk.used_bytes + 700 * KB
        await fill_up(client)
        for i in range(60):
            got = await client.next_event()
            assert (got.message_id, got.attempt) == (f"e{i}", 1)
            await client.nack(got, delay_ms=10)
            again = await client.next_event()
            assert (again.message_id, again.attempt) == (f"e{i}", 2)
            await client.ack(again)
        with pytest.raises(Overloaded):
            await client.publish(event("still full", payload=b"x" * 20 * KB))
        node.disk.capacity += 10_000 * KB
        await client.publish(event("room"))
        assert (await client.next_event()).message_id == "room"


async def test_topics_and_groups_are_refused_on_a_full_disk_and_can_be_made_later(
    clock: MockClock,
) -> None:
    """A write of the metadata that failed would be the end of the node; it serves what it has."""
    async with topic_broker(clock) as (node, client):
        await client.subscribe("known")
        node.disk.capacity = node.disk.used_bytes + 1000 * KB
        with pytest.raises(Overloaded, match="no disk space"):
            await client.create_topic("new", 3)
        with pytest.raises(Overloaded, match="no disk space"):
            await client.subscribe("new")
        node.disk.capacity = 1 << 40
        await client.publish(event("a"))
        await client.ack(await client.next_event())
        assert await client.create_topic("new", 3)
        await client.subscribe("new")


async def insist(client: RawClient) -> None:
    """Publishes for ever, although every batch is refused."""
    for i in count():
        requests = [
            await client.publish_later(event(f"pest{i}.{j}", payload=b"x" * 20 * KB))
            for j in range(4)
        ]
        for request in requests:
            with pytest.raises(Overloaded):
                await client.reply(request)


async def test_publishers_that_insist_do_not_starve_acks_and_timers_on_a_full_disk(
    clock: MockClock,
) -> None:
    """Each write group has a publish that finds no space; what shares it is written all the same."""
    async with topic_broker(clock, **SMALL) as (node, client), trio.open_nursery() as nursery:
        due_ms = START_MS + 5000
        await client.publish(event("timer", due_ms))
        await client.subscribe()
        node.disk.capacity = node.disk.used_bytes + 700 * KB
        await fill_up(client)
        node.threads.delay_s = lambda: 0.01
        for _ in range(3):
            nursery.start_soon(insist, await node.connect())
            await node.wait(7)
        got = await client.next_event()
        assert got.arrived_ms - due_ms <= 200
        await client.ack(got)
        assert node.now_ms - got.arrived_ms <= 200
        nursery.cancel_scope.cancel()


async def ack_until_stuck(client: RawClient, deliveries: list[Delivery]) -> int:
    """Acks one after the other until there is no answer; how many acks there were, with that one."""
    for n, delivery in enumerate(deliveries, 1):
        request = await client.post_ack(delivery)
        with trio.move_on_after(0.5) as patience:
            await client.reply(request)
        if patience.cancelled_caught:
            return n
    return pytest.fail("acks need no space")


async def test_when_even_the_reserve_is_used_up_acks_and_timers_wait(clock: MockClock) -> None:
    """The node does not die of it; with space again they are done, and nothing was dropped."""
    async with topic_broker(clock, **SMALL) as (node, client):
        await client.publish(*(event(f"e{i}") for i in range(1000)))
        await client.publish(event("timer", START_MS + 5000))
        await client.subscribe(credit=2000)
        got = await client.events(1000)
        node.disk.capacity = node.disk.used_bytes + 700 * KB
        await fill_up(client)
        node.disk.capacity = 0
        acked = await ack_until_stuck(client, got)
        assert acked < 1000
        assert await client.drain(5000) == []
        node.disk.capacity = 1 << 40
        assert (await client.next_event()).message_id == "timer"
        await node.crash()
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert {d.position for d in await client.drain(1)} == set(range(acked, 1001))


async def test_a_batch_too_large_for_the_segments_is_refused_not_fatal(clock: MockClock) -> None:
    """With the setting that would allow it; smaller ones, and acks of any shape, go through."""
    async with topic_broker(clock, segment_bytes=1_000_000) as (_, client):
        with pytest.raises(InvalidArgument, match="segment_bytes"):
            await client.publish(event("big", payload=b"x" * 600_000))
        rows = [event(f"e{i}", 1, b"") for i in range(12_000)]
        for _ in range(2):
            await client.publish(*rows)
        await client.publish(event("large", 1, b"x" * 300_000))
        await client.subscribe(credit=20_000)
        got = await client.events(12_001)
        await client.ack(*got[::2])
        await client.ack(*got[1::2])

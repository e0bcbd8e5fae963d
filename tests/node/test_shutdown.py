"""An orderly stop: what was taken on is finished, everything is closed, and the next start is quick."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from chronosdb.wal.errors import Locked
from chronosdb.wire import messages as m
from chronosdb.wire.errors import Overloaded
from tests.support.in_process import START_MS, Broker, broker, topic_broker
from tests.support.raw_client import event


async def stop_slowly(node: Broker, seconds: float) -> None:
    """Stops a node whose disk takes its time."""
    node.threads.delay_s = lambda: seconds
    try:
        await node.stop()
    finally:
        node.threads.delay_s = float


async def test_what_was_queued_is_answered_and_clients_hear_why_it_ends(clock: MockClock) -> None:
    """A publish that was waiting for the disk is acked, and is there afterwards."""
    async with topic_broker(clock) as (node, client):
        node.threads.delay_s = lambda: 0.5
        request = await client.publish_later(event("a", START_MS + 10_000))
        await client.drain(1)
        await node.stop()
        assert await client.reply(request) == m.Published(request, 0)
        assert "shutting down" in await client.closed()
        node.threads.delay_s = float
        await node.start()
        await client.reconnect()
        assert (await client.get("a")).state == "pending"


async def test_a_stop_takes_no_longer_than_its_limit_when_the_disk_hangs(clock: MockClock) -> None:
    """Within ten seconds all told, whatever the disk does; nothing acked is lost by it."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + 60_000))
        before_ms = node.now_ms
        await stop_slowly(node, 4.0)
        assert node.now_ms - before_ms <= 16_000
        await node.start()
        await client.reconnect()
        assert (await client.get("a")).state == "pending"


async def test_while_stopping_nothing_new_is_taken_on(clock: MockClock) -> None:
    """A publish, an ack, a topic: Overloaded, which a client retries elsewhere or later."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a"))
        await client.subscribe()
        got = await client.next_event()
        other = await node.connect()
        async with trio.open_nursery() as nursery:
            with node.threads.held("sync"):
                nursery.start_soon(node.stop)
                await node.wait(1)
                with pytest.raises(Overloaded, match="shutting down"):
                    await other.publish(event("b"))
                with pytest.raises(Overloaded, match="stopping"):
                    await other.create_topic("u")
                with pytest.raises(Overloaded):
                    await client.ack(got)
        await node.start()
        await client.reconnect()
        assert not await client.create_topic("t")
        await client.subscribe()
        assert (await client.next_event()).message_id == "a"


async def test_a_lease_that_runs_out_during_a_stop_disturbs_nothing(clock: MockClock) -> None:
    """The dispatcher is not to log its failure in a log that takes no more."""
    async with topic_broker(clock, topic={"ack_timeout_ms": 1000}) as (node, client):
        await client.publish(event("a"))
        await client.subscribe()
        await client.next_event()
        await node.advance(500)
        await stop_slowly(node, 0.4)
        await node.start()


async def test_a_checkpoint_that_the_last_write_calls_for_is_whole(clock: MockClock) -> None:
    """The checkpointer has been woken, but not begun, when the committer ends and saves all."""
    async with topic_broker(clock, checkpoint_bytes=64 * 1024) as (node, client):
        async with trio.open_nursery() as nursery:
            with node.threads.held("_write"):
                await client.publish_later(event("a", START_MS + 10**6, b"x" * 100_000))
                await client.drain(1)
                nursery.start_soon(node.stop)
                await node.wait(1)
        await node.start()
        await client.reconnect()
        assert (await client.get("a")).state == "pending"


async def test_a_dead_letter_on_its_way_does_not_keep_the_node(clock: MockClock) -> None:
    """Its own partition is closed by the time it could be copied; the next life takes it there."""
    async with topic_broker(clock, topic={"max_attempts": 1}) as (node, client):
        await client.publish(event("a"))
        await client.subscribe()
        got = await client.next_event()
        async with trio.open_nursery() as nursery:
            with node.threads.held("_open"):
                await client.nack(got, reason="bad")
                nursery.start_soon(node.stop)
                await node.wait(3000)
        assert node.now_ms - START_MS < 8000
        await node.start()
        await client.reconnect()
        await client.subscribe()
        await client.nack(await client.next_event(), reason="bad")
        await node.wait(1000)
        await client.subscribe(topic="t.dlq")
        assert (await client.next_event()).meta["message_id"] == "a"


async def test_one_directory_has_one_node(clock: MockClock) -> None:
    """The second says whose it is, and disturbs nothing; after a stop the directory is free."""
    async with broker(clock) as first, broker(clock, start=False) as second:
        second.disk = first.disk
        with pytest.raises(Locked, match="in use"):
            await second.start()
        client = await first.connect()
        await client.create_topic()
        await first.stop()
        await second.start()
        client = await second.connect()
        assert not await client.create_topic()


async def test_no_topic_is_left_half_made_by_a_client_that_hangs_up(clock: MockClock) -> None:
    """The next client can use it without creating it again."""
    async with broker(clock) as node:
        hasty, patient = await node.connect(), await node.connect()
        node.threads.delay_s = lambda: 0.01
        await hasty.post(m.CreateTopic(1, "t", 3, {}))
        await hasty.drain(1)
        await hasty.close()
        await node.wait(1000)
        for partition in range(3):
            await patient.publish(event("a"), partition=partition)

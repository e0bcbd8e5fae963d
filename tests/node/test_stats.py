"""What a node says of itself: counted by topic, current, and the same whoever asks."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from chronosdb.wire import messages as m
from chronosdb.wire.errors import Conflict
from tests.support.in_process import DATA_DIR, START_MS, topic_broker
from tests.support.raw_client import RawClient, event

MINUTE_MS = 60_000
FAST = {"ack_timeout_ms": 5000, "backoff_ms": 0, "backoff_max_ms": 0}


async def stats(client: RawClient) -> m.NodeStats:
    reply = await client.call(m.Stats)
    assert isinstance(reply, m.StatsReply)
    return reply.node


async def topic(client: RawClient, name: str = "t") -> m.TopicStats:
    return next(one for one in (await stats(client)).topics if one.name == name)


def lateness(one: m.TopicStats, node: m.NodeStats) -> dict[float, int]:
    """How many deliveries are counted under each bound."""
    bounds = [*node.lateness_bounds_ms, float("inf")]
    return {bound: n for bound, n in zip(bounds, one.lateness, strict=True) if n}


async def test_events_are_counted_from_publish_to_ack(clock: MockClock) -> None:
    """Each step once; a duplicate and a conflict are not stored, so not published."""
    async with topic_broker(clock, partitions=2) as (_, client):
        await client.publish(event("a"), event("b"))
        await client.publish(event("b2", START_MS + MINUTE_MS), partition=1)
        await client.publish(event("a"), event("b"))
        with pytest.raises(Conflict):
            await client.publish(event("a", payload=b"other"))
        one = await topic(client)
        assert (one.partitions, one.published, one.fired, one.pending) == (2, 3, 2, 1)
        await client.subscribe()
        first, second = await client.next_event(), await client.next_event()
        await client.ack(first)
        one = await topic(client)
        assert (one.delivered, one.settled, one.leased, one.lag) == (2, 1, 1, 1)
        await client.ack(second)
        one = await topic(client)
        assert (one.delivered, one.settled, one.leased, one.lag) == (2, 2, 0, 0)


async def test_lateness_is_that_of_first_deliveries(clock: MockClock) -> None:
    """An event that waited 4 s for its group is that late once; its second attempt does not count."""
    async with topic_broker(clock, topic=FAST) as (node, client):
        await client.publish(event("a"))
        await node.wait(4000)
        await client.subscribe()
        await client.nack(await client.next_event())
        await client.ack(await client.next_event())
        await client.publish(event("b", node.now_ms + MINUTE_MS))
        await client.ack(await client.next_event())
        now = await stats(client)
        assert lateness(now.topics[0], now) == {5000: 1, 1: 1}
        assert now.topics[0].delivered == 3


async def test_many_events_in_a_frame_are_counted_one_by_one(clock: MockClock) -> None:
    """Frames of many events are counted by column, with the same result."""
    async with topic_broker(clock) as (node, client):
        await client.publish(*(event(f"e{n}", START_MS - n) for n in range(1000)))
        await client.subscribe(credit=1000)
        for _ in range(1000):
            await client.next_event()
        now = await stats(client)
        late_ms = node.now_ms - START_MS
        assert sum(now.topics[0].lateness) == now.topics[0].delivered == 1000
        for bound, count in lateness(now.topics[0], now).items():
            below = max((b for b in [0, *now.lateness_bounds_ms] if b < bound), default=0)
            expected = sum(
                below < n + late_ms <= bound or n + late_ms == below == 0 for n in range(1000)
            )
            assert count == expected


async def test_the_next_hour_is_shown_by_the_minute(clock: MockClock) -> None:
    """What is due at the end of a minute belongs to the next one; what is further away is not shown."""
    async with topic_broker(clock, partitions=2) as (node, client):
        now_ms = node.now_ms
        for n, minutes in enumerate((0.5, 1, 1.5, 59.9, 60, 7000)):
            due_ms = now_ms + round(minutes * MINUTE_MS)
            await client.publish(event(f"e{n}", due_ms), partition=n % 2)
        upcoming = (await topic(client)).upcoming
        assert len(upcoming) == 60
        shift = node.now_ms - now_ms
        assert shift < MINUTE_MS / 10
        assert (upcoming[0], upcoming[1], upcoming[59]) == (1, 2, 1)
        assert sum(upcoming) == 4


async def test_counters_begin_anew_with_the_node_and_the_rest_does_not(clock: MockClock) -> None:
    """`started_ms` tells the lives apart; what is pending or lags is as it was."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a"), event("far", START_MS + 10 * MINUTE_MS))
        await client.subscribe()
        await client.next_event()
        before = await stats(client)
        await node.wait(1000)
        await node.restart()
        await client.reconnect()
        after = await stats(client)
        assert after.node_id == before.node_id
        assert after.cluster_id == before.cluster_id
        assert after.started_ms >= before.started_ms + 1000
        old, new = before.topics[0], after.topics[0]
        assert (old.published, old.delivered) == (2, 1)
        assert (new.published, new.delivered, new.leased) == (0, 0, 0)
        assert (new.pending, new.lag) == (old.pending, old.lag) == (1, 1)
        assert sum(new.upcoming) == 1


async def test_the_node_tells_its_clients_and_its_space(clock: MockClock) -> None:
    """Connections open now, bytes of the logs, bytes that are free."""
    async with topic_broker(clock) as (node, client):
        empty = await stats(client)
        assert empty.connections == 1
        second = await node.connect()
        await second.publish(event("a", payload=b"x" * 10_000))
        now = await stats(client)
        assert now.connections == 2
        assert now.log_bytes - empty.log_bytes > 10_000
        assert now.free_bytes == node.disk.free_bytes(DATA_DIR)
        assert now.inflight_bytes == 0
        await second.close()
        await node.wait(1)
        assert (await stats(client)).connections == 1


async def test_a_deleted_topic_is_not_counted_any_more(clock: MockClock) -> None:
    """One of the same name that is made later begins at zero."""
    async with topic_broker(clock) as (_, client):
        await client.publish(event("a"))
        await client.call(m.DeleteTopic, "t")
        assert (await stats(client)).topics == []
        await client.create_topic("t", 1)
        assert (await topic(client)).published == 0

"""Publish → on disk → due → fired → delivered → acked, on a node that nothing happens to."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from chronosdb.node.partition.dispatcher import Dispatcher
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument, NotFound
from tests.support.in_process import START_MS, topic_broker
from tests.support.raw_client import event


async def test_an_event_is_delivered_as_published_and_not_again_after_its_ack(
    clock: MockClock,
) -> None:
    """Every field arrives as it was sent (I2); an ack is the end of it (I8)."""
    async with topic_broker(clock) as (node, client):
        published_ms = node.now_ms
        due_ms = published_ms + 5000
        await client.publish(event("a", due_ms, b"\x00bytes", key=b"k", meta={"m": 1}))
        await client.subscribe()
        got = await client.next_event()
        assert (got.message_id, got.payload, got.key, got.meta) == (
            "a",
            b"\x00bytes",
            b"k",
            {"m": 1},
        )
        assert (got.offset, got.position, got.attempt) == (0, 0, 1)
        assert (got.schedule_ts, got.published_ms, got.sent_ms) == (due_ms, published_ms, due_ms)
        await client.ack(got)
        assert await client.drain(120_000) == []


async def test_an_event_without_a_time_or_with_a_past_one_fires_at_once(clock: MockClock) -> None:
    """NOW is stamped with the time it was stored; a past time stays what it is."""
    async with topic_broker(clock) as (node, client):
        await client.subscribe()
        stored_ms = node.now_ms
        await client.publish(event("now"), event("past", 1), event("before 1970", -5))
        got = await client.events(3)
        assert {d.message_id: d.schedule_ts for d in got} == {
            "before 1970": -5,
            "past": 1,
            "now": stored_ms,
        }
        assert {d.arrived_ms for d in got} == {stored_ms}


async def test_events_fire_in_order_of_due_time_and_within_it_of_offset(clock: MockClock) -> None:
    """Delivery order is (schedule_ts, offset), whatever the order of publishing (I6)."""
    async with topic_broker(clock) as (_, client):
        later, sooner = START_MS + 2000, START_MS + 1000
        await client.publish(event("c", later), event("a", sooner))
        await client.publish(event("b", sooner), event("d", later))
        await client.subscribe()
        got = await client.events(4)
        assert [d.message_id for d in got] == ["a", "b", "c", "d"]
        assert [d.position for d in got] == [0, 1, 2, 3]
        assert [d.arrived_ms for d in got] == [sooner, sooner, later, later]


async def test_a_timer_of_each_millisecond_fires_on_it(clock: MockClock) -> None:
    """None early, none late, over half a minute of due times at odd distances."""
    async with topic_broker(clock) as (_, client):
        dues = [START_MS + 1 + i * 37 for i in range(700)]
        await client.publish(*(event(f"e{i}", due) for i, due in enumerate(dues)))
        await client.subscribe()
        got = await client.events(700)
        assert [d.schedule_ts for d in got] == dues
        assert [d.arrived_ms for d in got] == dues


async def test_what_came_due_with_nobody_subscribed_waits(clock: MockClock) -> None:
    """A subscriber that comes an hour later gets it (I4)."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + 1000))
        await node.advance(3_600_000)
        await client.reconnect()
        await client.subscribe()
        assert (await client.next_event()).message_id == "a"


async def test_each_group_gets_every_event(clock: MockClock) -> None:
    """Acks of one group settle nothing for another."""
    async with topic_broker(clock) as (_, client):
        await client.publish(event("a"))
        for group in ("g1", "g2"):
            await client.subscribe(group)
            await client.ack(await client.next_event())


async def test_credit_is_never_exceeded(clock: MockClock) -> None:
    """With credit for n, n are sent; each further grant sends exactly that many."""
    async with topic_broker(clock) as (_, client):
        await client.publish(*(event(f"e{i}") for i in range(20)))
        subscription = await client.subscribe(credit=3)
        first = await client.drain(10_000)
        assert [d.offset for d in first] == [0, 1, 2]
        await client.ack(*first)
        assert await client.drain(10_000) == []
        await client.post(m.Credit(subscription, 2))
        await client.post(m.Credit(subscription, 3))
        assert [d.offset for d in await client.drain(10_000)] == [3, 4, 5, 6, 7]


async def test_no_credit_no_delivery(clock: MockClock) -> None:
    """A member may join with no credit at all, and wait."""
    async with topic_broker(clock) as (_, client):
        subscription = await client.subscribe(credit=0)
        await client.publish(event("a"))
        assert await client.drain(1000) == []
        await client.post(m.Credit(subscription, 1))
        assert (await client.next_event()).message_id == "a"


async def test_large_and_many_events_arrive_whole(clock: MockClock) -> None:
    """Payloads up to the cap come through frames of bounded size, in order."""
    async with topic_broker(clock) as (_, client):
        payloads = [bytes([i]) * (700_000 + i) for i in range(6)] + [b"x" * (4 << 20)]
        for i, payload in enumerate(payloads):
            await client.publish(event(f"e{i}", payload=payload))
        await client.subscribe()
        assert [d.payload for d in await client.events(len(payloads))] == payloads


async def test_get_follows_an_event_through_its_life(clock: MockClock) -> None:
    """Unknown, pending, fired: with its offset, its time of publishing and its content."""
    async with topic_broker(clock) as (node, client):
        assert (await client.get("a")).state == ""
        published_ms = node.now_ms
        await client.publish(event("a", START_MS + 60_000))
        pending = await client.get("a")
        assert (pending.state, pending.offset, pending.published_ms) == ("pending", 0, published_ms)
        await node.advance(59_000)
        await client.reconnect()
        assert (await client.get("a")).state == "pending"
        await node.advance(1000)
        assert (await client.get("a")).state == "fired"


async def test_partitions_fire_and_settle_apart(clock: MockClock) -> None:
    """Offsets and positions are dense in each partition on its own."""
    async with topic_broker(clock, partitions=3) as (_, client):
        await client.subscribe()
        for partition in (2, 0, 2):
            await client.publish(event(f"p{partition}", 1 + partition), partition=partition)
        await client.publish(event("more"), partition=2)
        got = await client.events(3)
        assert sorted((d.partition, d.position, d.offset) for d in got) == [
            (0, 0, 0),
            (2, 0, 0),
            (2, 1, 1),
        ]


async def test_names_that_do_not_exist_are_clear_errors(clock: MockClock) -> None:
    """A topic, a partition, a subscription that is not there: NotFound, and it says what."""
    async with topic_broker(clock) as (_, client):
        with pytest.raises(NotFound, match="no topic 'nope'"):
            await client.publish(event("a"), topic="nope")
        with pytest.raises(NotFound, match="has 1 partitions; 1 is none"):
            await client.publish(event("a"), partition=1)
        with pytest.raises(NotFound, match="no topic 'nope'"):
            await client.subscribe(topic="nope")
        with pytest.raises(NotFound, match="no subscription 99"):
            await client.call(m.Ack, 99, 0, memoryview(bytes(16)))


async def test_a_topic_can_be_created_twice_but_not_changed(clock: MockClock) -> None:
    """Creating is idempotent; unknown or impossible settings are refused by name."""
    async with topic_broker(clock) as (_, client):
        assert await client.create_topic("new", 2, max_attempts=3)
        assert not await client.create_topic("new", 2, max_attempts=3)
        with pytest.raises(InvalidArgument, match="colour"):
            await client.create_topic("other", 1, colour=3)
        names = [topic.name for topic in (await client.call(m.ListTopics)).topics]
        assert names == ["new", "t"]


async def test_a_long_backlog_is_sent_in_turns(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much credit a member has: the node has other things to do in between."""
    sent: list[int] = []
    deliver = Dispatcher._deliver

    def counting(self: Dispatcher, group: Any, now_ms: int) -> None:
        before = group.queue.leased
        deliver(self, group, now_ms)
        sent.append(group.queue.leased - before)

    monkeypatch.setattr(Dispatcher, "_deliver", counting)
    async with topic_broker(clock) as (_, client):
        for batch in range(10):
            await client.publish(*[event(f"{batch}-{i}") for i in range(1000)])
        await client.subscribe(credit=10_000)
        assert len(await client.events(10_000)) == 10_000
        assert max(sent) < 5000

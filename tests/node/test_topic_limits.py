"""How far ahead a topic takes events, and how many may wait in a partition."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument, Overloaded
from tests.support.in_process import START_MS, topic_broker
from tests.support.raw_client import RawClient, event

HOUR_MS = 3_600_000


async def publish(client: RawClient, ms: int, *message_ids: str) -> m.Published:
    """Events that are due `ms` after the start of the test."""
    return await client.publish(*(event(i, START_MS + ms) for i in message_ids))


async def cancel(client: RawClient, message_id: str) -> str:
    reply = await client.call(m.Change, "t", 0, message_id.encode(), None)
    return str(reply.outcome)


async def test_an_event_due_too_far_ahead_is_refused_by_name(clock: MockClock) -> None:
    """The message says which setting, which topic and how far; nothing of the batch is stored."""
    async with topic_broker(clock, topic={"max_delay_ms": HOUR_MS}) as (node, client):
        says = rf"90m ahead; topic 't' takes .* 1h ahead \(max_delay_ms={HOUR_MS}\)"
        with pytest.raises(InvalidArgument, match=says):
            await client.publish(event("a"), event("b", START_MS + HOUR_MS * 3 // 2))
        assert (await client.get("a")).state == ""
        await publish(client, HOUR_MS, "a")
        with pytest.raises(InvalidArgument, match="max_delay_ms"):
            await publish(client, HOUR_MS + 1, "b")
        await node.wait(1)
        await publish(client, HOUR_MS + 1, "b")


async def test_an_event_is_not_moved_too_far_ahead(clock: MockClock) -> None:
    """It stays where it was."""
    async with topic_broker(clock, topic={"max_delay_ms": HOUR_MS}) as (_, client):
        await publish(client, 1000, "a")
        with pytest.raises(InvalidArgument, match="max_delay_ms"):
            await client.call(m.Change, "t", 0, b"a", START_MS + HOUR_MS + 1)
        await client.subscribe()
        assert (await client.next_event()).schedule_ts == START_MS + 1000


async def test_a_partition_takes_so_many_pending_events(clock: MockClock) -> None:
    """What is due now is not pending; there is room again when some have fired or are cancelled."""
    async with topic_broker(clock, topic={"max_pending": 3}) as (node, client):
        await publish(client, 1000, "a", "b")
        with pytest.raises(
            Overloaded, match=r"2 events are pending .* 't', which takes 3"
        ) as failed:
            await publish(client, HOUR_MS, "c", "d")
        assert failed.value.retryable
        await publish(client, HOUR_MS, "c")
        await client.publish(event("now"), event("past", START_MS - 1))
        assert await cancel(client, "c") == "cancelled"
        await publish(client, HOUR_MS, "d")
        await node.wait(1001)
        await publish(client, HOUR_MS, "e", "f")
        with pytest.raises(Overloaded):
            await publish(client, HOUR_MS, "g")


async def test_a_batch_that_never_fits_is_not_to_be_tried_again(clock: MockClock) -> None:
    """It is too large by itself, however much fires meanwhile."""
    async with topic_broker(clock, topic={"max_pending": 3}) as (_, client):
        with pytest.raises(InvalidArgument, match="publish fewer at a time"):
            await publish(client, HOUR_MS, "a", "b", "c", "d")
        await client.publish(*(event(f"now-{n}") for n in range(9)))


async def test_a_duplicate_is_answered_although_there_is_no_room(clock: MockClock) -> None:
    """It adds nothing, alone or beside an event that is new."""
    async with topic_broker(clock, topic={"max_pending": 2}) as (_, client):
        await publish(client, HOUR_MS, "a")
        assert (await publish(client, HOUR_MS, "a", "b")).duplicates == b"\x01\x00"
        assert (await publish(client, HOUR_MS, "a", "b")).duplicates == b"\x01\x01"
        with pytest.raises(Overloaded):
            await publish(client, HOUR_MS, "a", "c")


async def test_events_of_one_write_group_count_for_those_behind_them(clock: MockClock) -> None:
    """Published and cancelled while the disk works: decided together, in their order."""
    async with topic_broker(clock, topic={"max_pending": 3}) as (node, client):
        with node.threads.held("_write"):
            await client.publish_later(event("busy"))
            await client.drain(1)
            first = await client.publish_later(
                event("a", START_MS + HOUR_MS), event("b", START_MS + HOUR_MS)
            )
            too_many = await client.publish_later(
                event("c", START_MS + HOUR_MS), event("d", START_MS + HOUR_MS)
            )
            cancelled = client.number()
            await client.post(m.Change(cancelled, "t", 0, b"a", None))
            fits = await client.publish_later(
                event("e", START_MS + HOUR_MS), event("f", START_MS + HOUR_MS)
            )
            await client.drain(1)
        await client.reply(first)
        with pytest.raises(Overloaded):
            await client.reply(too_many)
        await client.reply(cancelled)
        await client.reply(fits)
        counted = await client.call(m.CountPending, "t", 0, 0, 2**62, None)
        assert counted.count == 3


async def test_the_limits_hold_after_a_restart(clock: MockClock) -> None:
    """Pending events are counted from the log."""
    async with topic_broker(clock, topic={"max_pending": 1}) as (node, client):
        await publish(client, HOUR_MS, "a")
        await node.crash()
        await node.start()
        await client.reconnect()
        with pytest.raises(Overloaded):
            await publish(client, HOUR_MS, "b")


async def test_a_topic_may_say_otherwise_than_its_node(clock: MockClock) -> None:
    """The node's settings are for topics without their own; 0 is no limit."""
    async with topic_broker(clock, max_delay_ms=1000, max_pending=1) as (_, client):
        await client.create_topic("free", 1, max_delay_ms=0, max_pending=0)
        rows = [event(f"e{n}", START_MS + HOUR_MS) for n in range(9)]
        await client.publish(*rows, topic="free")
        with pytest.raises(InvalidArgument, match="max_delay_ms=1000"):
            await client.publish(rows[0])
        await publish(client, 1000, "a")
        with pytest.raises(Overloaded):
            await publish(client, 1000, "b")


async def test_a_schedule_needs_a_topic_that_takes_events_as_far_ahead(clock: MockClock) -> None:
    """They are made up to five seconds ahead, plus the jitter."""
    async with topic_broker(clock, topic={"max_delay_ms": 6000}) as (node, _), node.library() as db:
        with pytest.raises(InvalidArgument, match=r"up to 6001 ms ahead .* \(max_delay_ms=6000\)"):
            await db.schedules.put("s", "t", b"x", every=60, jitter=1.001)
        await db.schedules.put("s", "t", b"x", every=60, jitter=1)
        async with db.consume("t", group="g") as events:
            delivery = await anext(events)
            assert delivery.lateness_ms == 0
            await delivery.ack()

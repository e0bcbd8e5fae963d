"""What is on its way to the disk has not happened yet, and what has to wait for it is not lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trio.testing import MockClock

from chronosdb.wire import messages as m
from tests.support.in_process import START_MS, topic_broker
from tests.support.raw_client import event
from tests.support.schedule_owner import MINUTE_MS, SECOND_MS, occurrences, owner


@pytest.mark.parametrize("by", ["offset", "published", "fired"])
async def test_a_replay_does_not_show_what_is_not_committed(clock: MockClock, by: str) -> None:
    """It is written, and whoever published it does not know yet (I11)."""
    async with topic_broker(clock) as (node, client), node.library() as db:
        await client.publish(event("committed"))
        node.threads.delay_s = lambda: 1.0
        request = await client.publish_later(event("written"))
        await node.wait(1500)
        shown = [e.message_id async for e in db.replay("t", by=by)]
        assert shown == ["committed"]
        await client.reply(request)
        node.threads.delay_s = float
        shown = [e.message_id async for e in db.replay("t", by=by)]
        assert shown == ["committed", "written"]


async def test_what_expired_and_what_was_published_late_fire_in_one_order(clock: MockClock) -> None:
    """In a write group that has both: by due time, whichever was known first (I6)."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("due", START_MS + 1000), event("later", START_MS + 1500))
        with node.threads.held("_write"):
            await client.publish_later(event("writing", START_MS + 10_000))
            await node.advance(1)
            await node.advance(2000)
            await client.publish_later(event("late", START_MS + 1200))
            await node.advance(1)
        await client.subscribe()
        assert [d.message_id for d in await client.events(3)] == ["due", "late", "later"]


async def test_an_ack_on_its_way_when_its_group_is_reset_settles_nothing_for_good(
    clock: MockClock,
) -> None:
    """Not in the life after the reset either, which a restart reads from the log (I8)."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a"), event("b"))
        await client.subscribe(credit=2)
        old = await client.events(2)
        operator = await node.connect()
        with node.threads.held("_write"):
            await operator.post(m.ResetGroup(1, "t", "g", "earliest", False, True))
            await operator.drain(1)
            ack = await client.post_ack(old[0])
            await client.drain(1)
        await operator.reply(1)
        await client.reply(ack)
        await node.crash()
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert [d.message_id for d in await client.events(2)] == ["a", "b"]


async def test_an_ack_of_what_was_sent_before_a_restart_counts(clock: MockClock) -> None:
    """Whoever was sent it has done the work; positions outlive the node (I8)."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a"), event("b"), event("c"))
        await client.subscribe(credit=3)
        old = await client.events(3)
        await node.crash()
        await node.start()
        await client.reconnect()
        again = await client.subscribe(credit=0)
        await client.ack(*(replace(delivery, subscription=again) for delivery in old[:2]))
        await client.post(m.Credit(again, 3))
        assert [d.message_id for d in await client.drain(1000)] == ["c"]


async def test_an_occurrence_is_not_done_before_its_event_is_stored(clock: MockClock) -> None:
    """The power is cut while it waits for the disk; the next life makes it (I4)."""
    async with owner(clock) as one:
        await one.put(every_ms=MINUTE_MS, end_ms=START_MS + 2 * MINUTE_MS)
        with one.node.threads.held("_write"):
            await one.node.wait(MINUTE_MS + SECOND_MS)
            await one.node.crash()
        await one.crash_and_return(SECOND_MS)
        assert occurrences(await one.comes(3 * MINUTE_MS)) == [START_MS + MINUTE_MS]


async def test_a_dead_letter_waits_for_space(clock: MockClock) -> None:
    """It is neither dropped nor sent to its group again (I4)."""
    async with topic_broker(clock, topic={"max_attempts": 1}) as (node, client):
        await client.publish(event("a", payload=bytes(1_200_000)))
        await client.subscribe()
        got = await client.next_event()
        await client.subscribe(topic="t.dlq")
        node.disk.capacity = node.disk.used_bytes
        await client.nack(got)
        assert await client.drain(5000) == []
        node.disk.capacity = 1 << 40
        letter = await client.next_event(within_ms=5000)
        assert (letter.attempt, len(letter.payload)) == (1, 1_200_000)
        await client.ack(letter)
        assert await client.drain(60_000) == []

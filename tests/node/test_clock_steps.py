"""An operator, or NTP, sets the wall clock: nothing is early, nothing twice, nothing stuck (I3, I17)."""

from __future__ import annotations

from trio.testing import MockClock

from tests.support.in_process import START_MS, topic_broker
from tests.support.raw_client import event

HOUR_MS = 3_600_000


async def test_a_step_forward_fires_what_it_passed_within_half_a_second(clock: MockClock) -> None:
    """Waits are woken to look at the wall clock again."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + HOUR_MS))
        await client.subscribe()
        assert await client.drain(5000) == []
        node.step_clock(HOUR_MS)
        stepped_ms = node.now_ms
        got = await client.next_event()
        assert got.arrived_ms - stepped_ms <= 500
        assert got.sent_ms >= got.schedule_ts


async def test_a_step_back_fires_nothing_early(clock: MockClock) -> None:
    """What was a second away is an hour and a second away now."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + 1000))
        await client.subscribe()
        node.step_clock(-HOUR_MS)
        assert await client.drain(HOUR_MS) == []
        assert (await client.next_event()).arrived_ms == START_MS + 1000


async def test_a_step_back_fires_nothing_twice(clock: MockClock) -> None:
    """What has fired has fired; what it had settled stays settled; also over a crash."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + 1000), event("b", START_MS + 2000))
        await client.subscribe()
        await client.ack(await client.next_event())
        node.step_clock(-HOUR_MS)
        await node.crash()
        await node.start()
        await client.reconnect()
        await client.subscribe()
        got = await client.next_event(within_ms=2 * HOUR_MS)
        assert (got.message_id, got.arrived_ms) == ("b", START_MS + 2000)
        await client.ack(got)
        assert await client.drain(2 * HOUR_MS) == []


async def test_a_delivery_after_a_step_back_does_not_look_early(clock: MockClock) -> None:
    """It was fired at its time; `sent_ms` is not before that."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + 1000))
        await node.advance(1000)
        node.step_clock(-HOUR_MS)
        await client.subscribe()
        got = await client.next_event()
        assert got.arrived_ms < got.schedule_ts <= got.sent_ms


async def test_publishing_goes_on_after_a_step_back(clock: MockClock) -> None:
    """New events fire by the wall clock as it is now, in a log whose times never fall."""
    async with topic_broker(clock) as (node, client):
        await client.subscribe()
        await client.publish(event("before"))
        node.step_clock(-HOUR_MS)
        await client.publish(event("now"), event("soon", node.now_ms + 1000))
        before, now, soon = await client.events(3)
        assert (now.message_id, soon.message_id) == ("now", "soon")
        assert soon.arrived_ms == now.arrived_ms + 1000
        assert before.published_ms <= now.published_ms


async def test_a_lease_outlives_no_step(clock: MockClock) -> None:
    """An ack deadline that a step passed is over; one that a step moved away comes later."""
    async with topic_broker(clock, topic={"backoff_ms": 0}) as (node, client):
        await client.publish(event("a"))
        await client.subscribe()
        await client.next_event()
        node.step_clock(HOUR_MS)
        again = await client.next_event(within_ms=1000)
        assert again.attempt == 2
        node.step_clock(-HOUR_MS)
        await client.ack(again)


async def test_drift_too_slow_to_notice_does_not_add_up(clock: MockClock) -> None:
    """A wall clock that gains a millisecond every second for an hour still fires on time."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + HOUR_MS))
        await client.subscribe()
        while node.now_ms < START_MS + HOUR_MS - 10_000:
            await node.advance(10_000)
            node.step_clock(10)
        got = await client.next_event()
        assert 0 <= got.arrived_ms - got.schedule_ts <= 5

"""Events that expire: from then on nobody is sent them, and each group is done with them."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from chronosdb.wire import EventBatch, Row
from chronosdb.wire import messages as m
from chronosdb.wire.batch import NOW
from chronosdb.wire.errors import Conflict, InvalidArgument
from tests.support.in_process import START_MS, topic_broker
from tests.support.raw_client import Delivery, RawClient, event

HOUR_MS = 3_600_000


def expiring(message_id: str, expires_ms: int, at: int | None = None, payload: bytes = b"") -> Row:
    """An event with an expiry."""
    return event(message_id, at, payload)._replace(expires_ms=expires_ms)


async def facts(client: RawClient, group: str = "g") -> m.GroupPartition:
    """What the node says of a group in the only partition."""
    reply = await client.call(m.DescribeGroup, "t", group)
    [partition] = reply.group.partitions
    assert isinstance(partition, m.GroupPartition)
    return partition


async def counted(client: RawClient) -> tuple[int, int]:
    """How many events were delivered, every attempt, and how many of the deliveries are over."""
    [topic] = (await client.call(m.Stats)).node.topics
    return topic.delivered, topic.settled


def names(deliveries: list[Delivery]) -> list[str]:
    return [delivery.message_id for delivery in deliveries]


async def test_an_event_is_delivered_before_it_expires_and_not_from_then_on(
    clock: MockClock,
) -> None:
    """To the millisecond, and for each group by itself: one came in time, the other did not."""
    async with topic_broker(clock) as (node, client):
        await client.publish(expiring("a", START_MS + 1000), event("b"))
        await node.wait(999)
        await client.subscribe("early")
        assert names(await client.drain(1)) == ["a", "b"]
        late = await node.connect()
        await late.subscribe("late")
        assert names(await late.drain(1)) == ["b"]


async def test_what_expired_is_settled_and_costs_no_credit(clock: MockClock) -> None:
    """The cursor passes over it, on disk: after a restart nothing is left to do."""
    async with topic_broker(clock) as (node, client):
        rows = [expiring(f"e{n}", START_MS + 5) if n % 3 else event(f"e{n}") for n in range(1000)]
        await client.publish(*rows)
        await node.wait(10)
        await client.subscribe(credit=334)
        got = await client.drain(1)
        assert names(got) == [f"e{n}" for n in range(0, 1000, 3)]
        assert [d.position for d in got] == list(range(0, 1000, 3))
        assert (await facts(client)).lag == 334
        await client.ack(*got)
        assert (await facts(client)).lag == 0
        await node.crash()
        await node.start()
        await client.reconnect()
        assert (await facts(client)).position == 1000
        await client.subscribe()
        assert await client.drain(HOUR_MS) == []


async def test_a_great_many_that_expired_do_not_keep_what_did_not(clock: MockClock) -> None:
    """With a single credit, too; they are settled by the thousand."""
    async with topic_broker(clock) as (node, client):
        for start in range(0, 9000, 3000):
            rows = (expiring(f"e{n}", START_MS + 5) for n in range(start, start + 3000))
            await client.publish(*rows)
        await client.publish(event("alive"))
        await node.wait(10)
        await client.subscribe(credit=1)
        assert names(await client.drain(1)) == ["alive"]
        assert await counted(client) == (1, 9000)


async def test_there_is_no_further_attempt_after_the_expiry(clock: MockClock) -> None:
    """Whether it failed by nack, by timeout, or with its member; and it is no dead letter."""
    async with topic_broker(clock, max_attempts=3, ack_timeout_ms=30_000) as (node, client):
        expires_ms = START_MS + 20_000
        await client.publish(*(expiring(i, expires_ms) for i in ("nacked", "in time", "kept")))
        await client.subscribe()
        nacked, in_time, kept = await client.events(3)
        await client.nack(in_time, delay_ms=10_000)
        await client.nack(nacked, delay_ms=20_000)
        again = await client.next_event()
        assert (again.message_id, again.attempt) == ("in time", 2)
        await node.wait(12_000)
        assert (kept.message_id, node.now_ms > expires_ms) == ("kept", True)
        assert await client.drain(HOUR_MS) == []
        assert (await facts(client)).lag == 0
        # Four attempts, three events: of one topic, because no dead letter made another.
        assert await counted(client) == (4, 3)


async def test_an_attempt_that_is_under_way_may_end_well_after_the_expiry(clock: MockClock) -> None:
    """An ack counts; only sending it again would be wrong."""
    async with topic_broker(clock) as (node, client):
        await client.publish(expiring("a", START_MS + 1000))
        await client.subscribe()
        delivery = await client.next_event()
        await node.wait(5000)
        await client.ack(delivery)
        assert await counted(client) == (1, 1)


async def test_a_clock_set_back_brings_nothing_back(clock: MockClock) -> None:
    """What had expired by the time of the log stays expired."""
    async with topic_broker(clock) as (node, client):
        await client.publish(expiring("a", START_MS + 5000))
        await node.wait(6000)
        await client.publish(event("b"))
        node.step_clock(-5000)
        await client.subscribe()
        assert names(await client.drain(100)) == ["b"]


async def test_an_expired_event_is_history(clock: MockClock) -> None:
    """`get`, pending rows and replay show it with its expiry; it fired like any other."""
    async with topic_broker(clock) as (node, client):
        expires_ms = START_MS + 2000
        await client.publish(expiring("a", expires_ms, START_MS + 1000, b"payload"))
        page = await client.call(m.ListPending, "t", 0, 0, 2**62, None, None, 10)
        assert EventBatch(page.batch).expires(0) == expires_ms
        await node.wait(3000)
        await client.subscribe()
        assert await client.drain(1) == []
        found = await client.get("a")
        assert (found.state, EventBatch(found.batch).expires(0)) == ("fired", expires_ms)
        async with node.library() as db:
            for by in ("offset", "published", "scheduled", "fired"):
                [seen] = [e async for e in db.replay("t", by=by)]
                assert (seen.expires_ts, seen.payload) == (expires_ms, b"payload")


async def test_a_moved_event_keeps_its_expiry(clock: MockClock) -> None:
    """It may be due until then; from then on it would never be delivered, which is refused."""
    async with topic_broker(clock) as (_, client):
        expires_ms = START_MS + 2 * HOUR_MS
        await client.publish(expiring("a", expires_ms, START_MS + HOUR_MS))
        for due_ms in (expires_ms, expires_ms + 1):
            with pytest.raises(InvalidArgument, match=f"expires at {expires_ms}"):
                await client.call(m.Change, "t", 0, b"a", due_ms)
        await client.call(m.Change, "t", 0, b"a", expires_ms - 1)
        await client.subscribe()
        [only] = await client.events(1, within_ms=3 * HOUR_MS)
        assert only.schedule_ts == only.sent_ms == expires_ms - 1
        await client.ack(only)


async def test_an_event_that_would_never_be_delivered_is_refused(clock: MockClock) -> None:
    """Due at its expiry or after it, also when it is due now; nothing of the batch is stored."""
    async with topic_broker(clock) as (node, client):
        for at in (START_MS + 10, START_MS + 11):
            with pytest.raises(InvalidArgument, match="never be delivered"):
                await client.publish(event("ok"), expiring("a", START_MS + 10, at))
        await node.wait(10)
        with pytest.raises(InvalidArgument, match=f"not after schedule_ts {START_MS + 10}"):
            await client.publish(event("ok"), expiring("a", START_MS + 10))
        assert (await client.get("ok")).state == ""


async def test_a_publish_that_is_repeated_after_the_expiry_is_a_duplicate(clock: MockClock) -> None:
    """Its client may have missed the answer: that it has expired since is no error."""
    async with topic_broker(clock) as (node, client):
        row = expiring("a", START_MS + 10)
        assert row.due_ms == NOW
        await client.publish(row)
        await node.wait(1000)
        assert (await client.publish(row)).duplicates == b"\x01"
        later = row._replace(expires_ms=START_MS + 99_000)
        assert (await client.publish(later)).duplicates == b"\x01"
        with pytest.raises(Conflict):
            await client.publish(row._replace(expires_ms=None))


async def test_the_library_shows_when_an_event_expires(clock: MockClock) -> None:
    """On deliveries, rows and what `get` finds."""
    async with topic_broker(clock) as (node, _), node.library() as db:
        await db.publish("t", b"x", message_id="a", after=60, expires_after=30)
        expected = START_MS + 90_000
        assert [e.expires_ts async for e in db.pending("t")] == [expected]
        found = await db.get("t", "a")
        assert found is not None
        assert found.expires_ts == expected
        async with db.consume("t", group="g") as events:
            delivery = await anext(events)
            assert delivery.expires_ts == expected
            await delivery.ack()


async def test_a_redriven_dead_letter_does_not_expire(clock: MockClock) -> None:
    """Whoever redrives it wants it delivered, whenever that is."""
    async with topic_broker(clock, max_attempts=1) as (node, _), node.library() as db:
        await db.publish("t", b"x", expires_after=1)
        async with db.consume("t", group="g") as events:
            await (await anext(events)).nack()
            await node.wait(5000)
            assert await db.dlq.redrive("t") == 1
            again = await anext(events)
            assert (again.payload, again.expires_ts) == (b"x", None)
            await again.ack()

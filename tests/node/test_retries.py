"""Failed deliveries: when they come again, how often they are counted, and where they end."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from chronosdb.wire import Row
from chronosdb.wire.errors import InvalidArgument, LeaseLost, NotFound
from tests.support.in_process import Broker, topic_broker
from tests.support.raw_client import Delivery, RawClient, event

FAST: dict[str, int] = {"ack_timeout_ms": 5000, "backoff_ms": 0, "backoff_max_ms": 0}


async def test_a_nack_with_a_delay_brings_the_event_back_after_exactly_that(
    clock: MockClock,
) -> None:
    """Same id, position and offset; the next attempt number."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a"))
        await client.subscribe()
        first = await client.next_event()
        await client.nack(first, delay_ms=12_345)
        due_ms = node.now_ms + 12_345
        again = await client.next_event()
        assert (again.arrived_ms, again.attempt) == (due_ms, 2)
        assert (again.message_id, again.position, again.offset) == ("a", 0, 0)


async def test_backoff_doubles_up_to_its_maximum_less_a_random_part(clock: MockClock) -> None:
    """1 s, 2 s, 4 s, 5 s, 5 s, each up to a fifth shorter, and not all by the same part."""
    settings = {"backoff_ms": 1000, "backoff_max_ms": 5000, "max_attempts": 100}
    async with topic_broker(clock, topic=settings) as (node, client):
        await client.publish(event("a"))
        await client.subscribe()
        parts = set()
        delivery = await client.next_event()
        for full_ms in (1000, 2000, 4000, 5000, 5000):
            failed_ms = node.now_ms
            await client.nack(delivery)
            delivery = await client.next_event()
            part = (delivery.arrived_ms - failed_ms) / full_ms
            assert 0.8 <= part <= 1
            parts.add(part)
        assert len(parts) > 1


async def test_without_an_ack_the_event_goes_to_another_after_the_timeout(clock: MockClock) -> None:
    """The silent member keeps nothing (I16)."""
    async with topic_broker(clock, topic=FAST) as (node, silent):
        await silent.publish(event("a"))
        await silent.subscribe(credit=1)
        lost = await silent.next_event()
        other = await node.connect()
        await other.subscribe()
        assert await other.drain(4999) == []
        again = await other.next_event()
        assert (again.attempt, again.arrived_ms) == (2, lost.arrived_ms + 5000)
        with pytest.raises(LeaseLost, match="attempt 1 of position 0"):
            await silent.nack(lost)
        with pytest.raises(LeaseLost):
            await silent.extend(lost, 1000)


async def test_extending_keeps_the_event_longer(clock: MockClock) -> None:
    """From the moment of the request, as often as asked."""
    async with topic_broker(clock, topic=FAST) as (node, client):
        await client.publish(event("a"))
        await client.subscribe()
        got = await client.next_event()
        for _ in range(5):
            await node.advance(4000)
            await client.extend(got, 6000)
        extended_ms = node.now_ms
        again = await client.next_event()
        assert again.arrived_ms == extended_ms + 6000


async def test_a_late_ack_counts(clock: MockClock) -> None:
    """Also while another holds the event, and when it waits for its next attempt (I8)."""
    async with topic_broker(clock, topic={**FAST, "backoff_ms": 0}) as (node, slow):
        await slow.publish(event("held"), event("waiting"))
        await slow.subscribe(credit=2)
        held, waiting = await slow.events(2)
        await slow.nack(waiting, delay_ms=60_000)
        other = await node.connect()
        await other.subscribe()
        assert (await other.next_event()).message_id == "held"
        await slow.ack(held, waiting)
        assert await other.drain(200_000) == []
        assert await slow.drain() == []


async def test_acking_twice_is_acking_once(clock: MockClock) -> None:
    """Both requests succeed; so does one for positions that were never sent."""
    async with topic_broker(clock) as (_, client):
        await client.publish(event("a"))
        await client.subscribe()
        got = await client.next_event()
        first, second = await client.post_ack(got), await client.post_ack(got)
        await client.reply(first)
        await client.reply(second)
        await client.ack(got)


async def test_a_member_that_leaves_gives_back_what_it_held_at_once(clock: MockClock) -> None:
    """By unsubscribing or by hanging up, with a higher attempt number, since it may have been seen."""
    async with topic_broker(clock) as (node, first):
        await first.publish(event("a"))
        subscription = await first.subscribe()
        await first.next_event()
        second = await node.connect()
        await second.subscribe()
        await first.unsubscribe(subscription)
        given = await second.next_event(within_ms=10)
        assert given.attempt == 2
        third = await node.connect()
        await third.subscribe()
        await second.close()
        assert (await third.next_event(within_ms=10)).attempt == 3


async def test_dead_letters_can_be_waited_for_before_there_is_one(clock: MockClock) -> None:
    """Subscribing makes the dead-letter topic of a topic that exists, and of no other."""
    async with topic_broker(clock, topic=FAST | {"max_attempts": 1}) as (node, client):
        undertaker = await node.connect()
        await undertaker.subscribe(topic="t.dlq")
        with pytest.raises(NotFound, match=r"no topic 'u\.dlq'"):
            await undertaker.subscribe(topic="u.dlq")
        await client.publish(event("a"))
        await client.subscribe()
        await use_up(client, 1, "broken")
        assert (await undertaker.next_event()).meta["message_id"] == "a"


async def read_dead_letters(node: Broker, client: RawClient) -> None:
    """Subscribes to the dead-letter topic, once it is there."""
    await node.advance(1000)
    await client.subscribe(topic="t.dlq")


async def use_up(client: RawClient, attempts: int, reason: str) -> Delivery:
    """Nacks the next event until it has no attempts left; its last delivery."""
    for attempt in range(1, attempts + 1):
        got = await client.next_event()
        assert got.attempt == attempt
        await client.nack(got, delay_ms=0, reason=reason)
    return got


async def test_an_event_that_used_up_its_attempts_goes_to_the_dead_letter_topic(
    clock: MockClock,
) -> None:
    """With key, payload and headers as published, and why, from where and after how many attempts."""
    async with topic_broker(clock, topic={**FAST, "max_attempts": 3}) as (node, client):
        own = {"colour": "red", "reason": "mine"}
        await client.publish(event("a", 5, b"payload", key=b"k", meta=own))
        await client.subscribe("billing")
        dead = await use_up(client, 3, "no such account")
        await read_dead_letters(node, client)
        got = await client.next_event()
        assert (got.payload, got.key) == (b"payload", b"k")
        assert got.meta == {
            "colour": "red",
            "original.reason": "mine",
            "reason": "no such account",
            "group": "billing",
            "attempts": 3,
            "topic": "t",
            "partition": 0,
            "offset": dead.offset,
            "message_id": "a",
            "schedule_ts": 5,
        }
        await client.ack(got)
        assert await client.drain(200_000) == []


async def test_an_ack_timeout_uses_up_attempts_too(clock: MockClock) -> None:
    """The reason says so."""
    async with topic_broker(clock, topic={**FAST, "max_attempts": 2}) as (node, client):
        await client.publish(event("a"))
        await client.subscribe()
        await client.events(2)
        await client.drain(6000)
        await read_dead_letters(node, client)
        assert (await client.next_event()).meta["reason"] == "ack timeout"


async def test_attempts_of_one_group_are_not_those_of_another(clock: MockClock) -> None:
    """One group's dead letter is another group's first delivery."""
    async with topic_broker(clock, topic={**FAST, "max_attempts": 1}) as (_, client):
        await client.publish(event("a"))
        await client.subscribe("g1")
        await use_up(client, 1, "bad")
        await client.subscribe("g2")
        assert (await client.next_event()).attempt == 1


async def crash_between_copy_and_settle(node: Broker, client: RawClient) -> None:
    """Uses up the attempts of the next event, and cuts the power when only its copy is on disk."""
    got = await client.next_event()
    await client.create_topic("t.dlq")
    node.threads.delay_s = lambda: 0.001
    writes = node.disk.calls.count("fdatasync")
    await client.nack(got, reason="first reason")
    while node.disk.calls.count("fdatasync") == writes:
        await node.advance(1)
    await node.crash()
    node.threads.delay_s = float
    await node.advance(60_000)
    await node.start()
    await client.reconnect()


async def test_a_crash_between_copy_and_settle_leaves_one_copy_and_nobody_stuck(
    clock: MockClock,
) -> None:
    """The event fails again, for another reason, an hour later: the copy that is there will do."""
    async with topic_broker(clock, topic={**FAST, "max_attempts": 1}) as (node, client):
        await client.publish(event("a"))
        await client.subscribe()
        await crash_between_copy_and_settle(node, client)
        await client.subscribe()
        await client.nack(await client.next_event(), reason="second reason")
        await client.publish(event("b"))
        await client.nack(await client.next_event(), reason="bad")
        await read_dead_letters(node, client)
        got = await client.drain(200_000)
        assert [(d.meta["message_id"], d.meta["reason"]) for d in got[:2]] == [
            ("a", "first reason"),
            ("b", "bad"),
        ]
        await node.crash()
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert await client.drain(1000) == []


@pytest.mark.parametrize(
    "meta",
    [
        b"\xff",
        b"\x81\xa1\xff\x01",
        b"\x81\xa1a" + b"\x91" * 60_000 + b"\x01",
        b"\x01",
        b"\x81\x01\x01",
    ],
    ids=["no msgpack", "no UTF-8", "too deep", "no map", "no names"],
)
async def test_headers_that_cannot_be_read_do_not_keep_a_dead_letter(
    clock: MockClock, meta: bytes
) -> None:
    """The copy carries them as they are."""
    async with topic_broker(clock, topic={**FAST, "max_attempts": 1}) as (node, client):
        await client.publish(Row(b"a", 1, b"", meta, b"payload"))
        await client.subscribe()
        await use_up(client, 1, "bad")
        await read_dead_letters(node, client)
        assert (await client.next_event()).meta["undecodable"] == meta


async def test_a_dead_letter_of_a_dead_letter_topic_comes_back_to_it(clock: MockClock) -> None:
    """Nothing is dropped, however often it fails; what it was first stays readable."""
    async with topic_broker(clock, topic={**FAST, "max_attempts": 1}) as (node, client):
        await client.create_topic("t.dlq", **FAST, max_attempts=1)
        await client.publish(event("a"))
        await client.subscribe()
        await use_up(client, 1, "one")
        await read_dead_letters(node, client)
        await client.nack(await client.next_event(), reason="two")
        again = await client.next_event()
        assert (again.meta["reason"], again.meta["original.reason"]) == ("two", "one")


@pytest.mark.parametrize(
    "settings",
    [{"backoff_ms": 10**9}, {"ack_timeout_ms": 2**53 - 1}, {"max_attempts": 2**53 - 1}],
    ids=str,
)
async def test_impossible_retry_settings_are_refused_when_the_topic_is_created(
    clock: MockClock, settings: dict[str, Any]
) -> None:
    """Not when somebody subscribes; and the topic does not exist afterwards."""
    async with topic_broker(clock) as (_, client):
        with pytest.raises(InvalidArgument, match=next(iter(settings))):
            await client.create_topic("bad", **settings)
        assert await client.create_topic("bad")

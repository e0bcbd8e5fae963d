"""Dead letters as an operator handles them: listed, inspected, redriven, purged."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from chronosdb.client import Client, DeadLetter, InvalidArgument, NotFound
from chronosdb.wire import Row
from chronosdb.wire import messages as m
from tests.support.in_process import START_MS, topic_broker
from tests.support.raw_client import Delivery, RawClient, event

ONCE = {"max_attempts": 1, "backoff_ms": 0, "backoff_max_ms": 0}


async def fail(client: RawClient, *rows: Row, group: str = "g", reason: str = "bad") -> None:
    """Publishes events and lets a group fail at them."""
    await client.publish(*rows)
    await fail_at(client, len(rows), group=group, reason=reason)


async def fail_at(client: RawClient, n: int, *, group: str = "g", reason: str = "bad") -> None:
    """Lets a group fail at the next `n` events; it has no members afterwards."""
    number = await client.subscribe(group)
    for delivery in await client.events(n):
        await client.nack(delivery, reason=reason)
    await client.drain(1000)  # they are on their way to the dead-letter topic
    await client.unsubscribe(number)


async def letters(db: Client, topic: str = "t", **chosen: Any) -> list[DeadLetter]:
    return [letter async for letter in db.dlq.list(topic, **chosen)]


async def ids(db: Client, topic: str = "t", **chosen: Any) -> list[str]:
    return [letter.message_id for letter in await letters(db, topic, **chosen)]


async def delivered(client: RawClient, group: str = "fresh") -> list[Delivery]:
    """What a new group is sent of the topic, from the first event on."""
    number = await client.subscribe(group)
    got = await client.drain(1000)
    await client.unsubscribe(number)
    return got


async def test_a_letter_shows_the_event_as_it_was_published_and_why_it_failed(
    clock: MockClock,
) -> None:
    """Found by its own id and by that of the event."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        headers = {"colour": "red", "reason": "mine", "original.x": 1}
        await fail(client, event("a", 5, b"payload", key=b"k", meta=headers), reason="no account")
        [letter] = await letters(db)
        assert (letter.message_id, letter.payload, letter.key) == ("a", b"payload", b"k")
        assert (letter.topic, letter.partition, letter.offset) == ("t", 0, 0)
        assert (letter.group, letter.reason, letter.attempts) == ("g", "no account", 1)
        assert (letter.meta, letter.schedule_ts) == (headers, 5)
        assert START_MS <= letter.failed_ts <= node.now_ms
        assert await db.dlq.inspect("t", "a") == letter
        assert await db.dlq.inspect("t", letter.id) == letter
        assert await db.dlq.inspect("t", "b") is None


async def test_letters_are_listed_oldest_first_by_group_and_up_to_a_limit(
    clock: MockClock,
) -> None:
    """Under the topic's name, and under that of its dead-letter topic."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await fail(client, event("a"), event("b"), group="g1")
        await client.publish(event("c"))
        await fail_at(client, 3, group="g2")
        assert await ids(db, group="g1") == ["a", "b"]
        assert await ids(db, group="g2") == ["a", "b", "c"]
        assert await ids(db, "t.dlq", limit=2) == ["a", "b"]


async def test_a_topic_without_dead_letters_has_none(clock: MockClock) -> None:
    """Its dead-letter topic need not exist; the topic must."""
    async with topic_broker(clock) as (node, _), node.library() as db:
        assert await ids(db) == []
        assert await db.dlq.redrive("t") == 0
        with pytest.raises(NotFound):
            await ids(db, "nope")


async def test_redriven_events_come_once_more_as_they_were(clock: MockClock) -> None:
    """Under a new id, in order, due now; their letters are gone, also after a power cut."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await fail(client, event("a", 5, b"one", key=b"k", meta={"group": "own"}), event("b"))
        assert await db.dlq.redrive("t") == 2
        redriven_ms = node.now_ms
        got = (await delivered(client))[2:]
        assert [(d.payload, d.key, d.meta) for d in got] == [
            (b"one", b"k", {"group": "own"}),
            (b"payload", None, {}),
        ]
        assert all(d.message_id.startswith("redrive-") for d in got)
        assert all(START_MS < d.schedule_ts <= redriven_ms for d in got)
        await node.crash()
        await node.start()
        assert await ids(db) == []
        assert await db.dlq.redrive("t") == 0


async def test_headers_that_cannot_be_read_are_redriven_byte_for_byte(clock: MockClock) -> None:
    """The list shows them as the bytes they are."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await fail(client, Row(b"a", 1, b"", b"\xff\x00", b"payload"))
        [letter] = await letters(db)
        assert letter.meta == {"undecodable": b"\xff\x00"}
        await db.dlq.redrive("t")
        assert [d.raw_meta for d in await delivered(client)] == [b"\xff\x00"] * 2


async def test_only_the_chosen_letters_are_redriven(clock: MockClock) -> None:
    """By id, the letter's or the event's, and by group; the others stay."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await fail(client, event("a"), event("b"), event("c"))
        [first, *_] = await letters(db)
        assert await db.dlq.redrive("t", ids=[first.id, "c", "nope"]) == 2
        assert await ids(db) == ["b"]
        assert await db.dlq.redrive("t", group="other") == 0
        assert await db.dlq.redrive("t", group="g") == 1
        with pytest.raises(TypeError, match="several ids"):
            await db.dlq.redrive("t", ids="abc")


async def test_an_event_that_fails_again_is_a_letter_again(clock: MockClock) -> None:
    """Each time one, with the same event inside, and it can be redriven again."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await fail(client, event("a", meta={"n": 1}))
        seen = set()
        for _ in range(3):
            [letter] = await letters(db)
            assert letter.meta == {"n": 1}
            seen.add(letter.id)
            assert await db.dlq.redrive("t") == 1
            await fail_at(client, 1)
        assert len(seen) == 3


async def test_a_letter_of_the_dead_letter_topic_itself_is_about_the_first_event(
    clock: MockClock,
) -> None:
    """Redriving it goes to the topic, with the headers that were published."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await client.create_topic("t.dlq", **ONCE)
        await fail(client, event("a", meta={"reason": "mine"}))
        number = await client.subscribe("inspectors", topic="t.dlq")
        await client.nack(await client.next_event(), reason="unreadable")
        await client.drain(1000)
        await client.unsubscribe(number)
        first, second = await letters(db)
        assert (first.group, first.reason) == ("g", "bad")
        assert (second.group, second.reason) == ("inspectors", "unreadable")
        assert (second.topic, second.message_id, second.meta) == ("t", "a", {"reason": "mine"})
        assert await db.dlq.redrive("t", group="inspectors") == 1
        assert [d.meta for d in await delivered(client)] == [{"reason": "mine"}] * 2


async def test_an_event_that_a_user_put_there_is_a_letter_without_a_reason(
    clock: MockClock,
) -> None:
    """It is redriven like the others."""
    async with topic_broker(clock) as (node, client), node.library() as db:
        await client.create_topic("t.dlq")
        await client.publish(event("a", meta={"reason": 7}), topic="t.dlq")
        [letter] = await letters(db)
        assert (letter.group, letter.reason, letter.meta) == ("", "", {"reason": 7})
        assert await db.dlq.redrive("t") == 1
        assert [d.meta for d in await delivered(client)] == [{"reason": 7}]


async def test_redriving_keeps_to_its_rate(clock: MockClock) -> None:
    """20 events at 4 a second take 4.75 seconds from the first to the last."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await fail(client, *(event(f"e{i}") for i in range(20)))
        started_s = trio.current_time()
        assert await db.dlq.redrive("t", rate=4) == 20
        assert trio.current_time() - started_s == pytest.approx(4.75, abs=0.1)
        for rate in (0, -1, float("nan"), float("inf"), True, "fast"):
            with pytest.raises(InvalidArgument, match="rate"):
                await db.dlq.redrive("t", rate=rate)  # type: ignore[arg-type]


async def redriven_twice(clock: MockClock, cut: int) -> bool:
    """Redrives until the power is cut at this call of the disk, and again; whether it was not cut."""
    async with topic_broker(clock, partitions=2, topic=ONCE) as (node, client):
        await fail(client, event("a", key=b"k1"), event("b", key=b"k2"))
        node.disk.cut_power_at(cut)
        async with node.library() as db:
            with trio.move_on_after(1):
                await db.dlq.redrive("t", rate=5)  # publish, settle, publish, settle
        whole = node.disk.armed
        await node.crash()
        await node.start()
        async with node.library() as db:
            await db.dlq.redrive("t")
            assert await ids(db) == []
        await client.reconnect()
        got = await delivered(client)
        assert sorted(d.key or b"" for d in got) == [b"k1", b"k1", b"k2", b"k2"]
        return whole


async def test_redriving_that_was_cut_short_loses_and_doubles_nothing(clock: MockClock) -> None:
    """Power is cut at each disk call in turn; done again, each event is there once more, once."""
    for cut in count(1):
        if await redriven_twice(clock, cut):
            assert cut > 8
            return


async def test_purged_letters_are_gone_for_good(clock: MockClock) -> None:
    """By id, by age, or all; nothing is delivered again, and a restart brings none back."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await fail(client, event("a"), event("b"))
        await node.advance(10_000)
        middle_ms = node.now_ms
        await node.advance(10_000)
        await fail(client, event("c"), event("d"))
        assert await db.dlq.purge("t", ids=["a"]) == 1
        assert await db.dlq.purge("t", before=middle_ms) == 1
        assert await ids(db) == ["c", "d"]
        await node.restart()
        assert await ids(db) == ["c", "d"]
        assert await db.dlq.purge("t") == 2
        await node.crash()
        await node.start()
        assert await ids(db) == []


async def test_resetting_the_redrive_group_brings_all_letters_back(clock: MockClock) -> None:
    """Nothing was deleted."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await fail(client, event("a"))
        await db.dlq.purge("t")
        assert [g.name for g in await db.groups("t.dlq")] == [m.REDRIVE_GROUP]
        await db.reset_group("t.dlq", m.REDRIVE_GROUP, to="earliest")
        assert await ids(db) == ["a"]


async def test_many_letters_are_read_page_by_page(clock: MockClock) -> None:
    """None twice, none left out; what is large makes smaller pages."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await client.create_topic("t.dlq")
        for first in range(0, 2500, 500):
            rows = [event(f"e{i}") for i in range(first, first + 500)]
            await client.publish(*rows, topic="t.dlq")
        for i in range(3):
            await client.publish(event(f"big{i}", payload=bytes(900_000)), topic="t.dlq")
        expected = [f"e{i}" for i in range(2500)] + ["big0", "big1", "big2"]
        assert await ids(db) == expected
        assert await db.dlq.purge("t", ids=expected[1:-1:2]) == 1251
        assert await ids(db) == expected[::2]


async def test_a_lost_connection_does_not_show(clock: MockClock) -> None:
    """Every request about dead letters may be repeated."""
    async with topic_broker(clock, topic=ONCE) as (node, client), node.library() as db:
        await fail(client, event("a"), event("b"))
        await node.restart()
        assert await ids(db) == ["a", "b"]
        await node.stop()

        async def come_back() -> None:
            await trio.sleep(5)
            await node.start()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come_back)
            assert await db.dlq.redrive("t") == 2

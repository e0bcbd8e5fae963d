"""Pending events are rows: listed, counted, cancelled and moved, and never both fired and withdrawn."""

from __future__ import annotations

from array import array
from random import Random

import pytest
import trio
from trio.testing import MockClock

from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m
from chronosdb.wire.batch import NOW
from tests.support.in_process import START_MS, Broker, topic_broker
from tests.support.raw_client import RawClient, event

HOUR_MS = 3_600_000
EVER = (-(2**63) + 1, 2**62 + 1)


async def rows(
    client: RawClient, start: int = EVER[0], end: int = EVER[1], *, key: bytes | None = None
) -> list[tuple[int, str]]:
    """All rows of a range, read in pages of three."""
    found: list[tuple[int, str]] = []
    after = None
    while True:
        page = await client.call(m.ListPending, "t", 0, start, end, key, after, 3)
        if page.batch:
            batch = EventBatch(page.batch)
            found += zip(batch.due, (i.decode() for i in batch.ids()), strict=True)
        after = page.next
        if after is None:
            return found


async def change(client: RawClient, message_id: str, due_ms: int | None = None) -> str:
    """How cancelling (or moving) an event ended."""
    reply = await client.call(m.Change, "t", 0, message_id.encode(), due_ms)
    assert isinstance(reply, m.Changed)
    return reply.outcome


async def count(client: RawClient, start: int = EVER[0], end: int = EVER[1]) -> int:
    """How many events are pending in a range."""
    reply = await client.call(m.CountPending, "t", 0, start, end, None)
    assert isinstance(reply, m.Counted)
    return reply.count


async def save_views(node: Broker) -> None:
    """Let a checkpoint pass."""
    await node.wait(31_000)


async def test_rows_come_in_due_order_from_memory_and_from_checkpoints(clock: MockClock) -> None:
    """Whether an event was saved to the views or not makes no difference, nor how far away it is."""
    async with topic_broker(clock) as (node, client):
        far = [event(f"e{n}", START_MS + n * HOUR_MS) for n in (40, 2, 7, 9000)]
        await client.publish(*far)
        await save_views(node)
        await client.publish(*(event(f"e{n}", START_MS + n * HOUR_MS) for n in (3, 1, 41)))
        expected = [(START_MS + n * HOUR_MS, f"e{n}") for n in (1, 2, 3, 7, 40, 41, 9000)]
        assert await rows(client) == expected
        inside = [r for r in expected if START_MS + 2 * HOUR_MS <= r[0] < START_MS + 41 * HOUR_MS]
        span = (START_MS + 2 * HOUR_MS, START_MS + 41 * HOUR_MS)
        assert await rows(client, *span) == inside
        assert await count(client, *span) == len(inside)
        await node.restart()
        await client.reconnect()
        assert await rows(client) == expected


async def test_a_key_chooses_its_events_only(clock: MockClock) -> None:
    """A longer key that begins alike is another key."""
    async with topic_broker(clock) as (_, client):
        keyed = [event(f"e{n}", START_MS + HOUR_MS + n, key=b"ab"[: n % 3]) for n in range(9)]
        await client.publish(*keyed)
        assert [i for _, i in await rows(client, key=b"a")] == ["e1", "e4", "e7"]
        assert [i for _, i in await rows(client, key=b"abc")] == []


async def test_a_cancelled_event_never_fires_and_stays_cancelled(clock: MockClock) -> None:
    """Over checkpoint, crash and restart; cancelling again says the same."""
    async with topic_broker(clock) as (node, client):
        await client.subscribe()
        await client.publish(event("a", START_MS + HOUR_MS), event("b", START_MS + HOUR_MS))
        assert await change(client, "a") == "cancelled"
        await node.crash()
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert await change(client, "a") == "cancelled"
        assert (await client.get("a")).state == "cancelled"
        await save_views(node)
        await node.restart()
        await client.reconnect()
        await client.subscribe()
        [only] = await client.events(1, within_ms=2 * HOUR_MS)
        assert only.message_id == "b"
        await client.ack(only)
        assert await client.drain(10 * HOUR_MS) == []
        assert (await client.get("a")).state == "cancelled"


async def test_what_has_fired_cannot_be_withdrawn(clock: MockClock) -> None:
    """Nor what never was: both are answers, not errors."""
    async with topic_broker(clock) as (_, client):
        await client.publish(event("a"))
        assert await change(client, "a") == "already_fired"
        assert await change(client, "a", START_MS + HOUR_MS) == "already_fired"
        assert await change(client, "nobody") == "not_found"


async def test_an_event_cancelled_at_its_very_instant_does_not_fire(clock: MockClock) -> None:
    """The cancel waits for the disk while the event comes due: the log says who was first."""
    async with topic_broker(clock) as (node, client):
        await client.subscribe()
        await client.publish(event("a", node.now_ms + 1000))
        with node.threads.held("_write"):
            await client.publish_later(event("busy", START_MS + HOUR_MS))
            await client.drain(500)
            number = client.number()
            await client.post(m.Change(number, "t", 0, b"a", None))
            await client.drain(1000)  # "a" is overdue now, and the cancel is queued before it
        reply = await client.reply(number)
        assert isinstance(reply, m.Changed)
        assert reply.outcome == "cancelled"
        assert await client.drain(HOUR_MS // 2) == []


async def test_an_event_cannot_be_cancelled_in_the_group_that_fires_it(clock: MockClock) -> None:
    """Published due at once and cancelled before the fsync: it fires, and the answer says so."""
    async with topic_broker(clock) as (node, client):
        await client.subscribe()
        with node.threads.held("_write"):
            await client.publish_later(event("busy", START_MS + HOUR_MS))
            await client.drain(1)
            await client.publish_later(event("now"), event("later", START_MS + 2 * HOUR_MS))
            numbers = [client.number(), client.number()]
            await client.post(m.Change(numbers[0], "t", 0, b"now", None))
            await client.post(m.Change(numbers[1], "t", 0, b"later", None))
            await client.drain(1)
        outcomes = [getattr(await client.reply(n), "outcome", "") for n in numbers]
        assert outcomes == ["already_fired", "cancelled"]
        for name in ("now", "busy"):
            fired = await client.next_event(within_ms=2 * HOUR_MS)
            assert fired.message_id == name
            await client.ack(fired)
        assert await client.drain(10 * HOUR_MS) == []


async def test_a_moved_event_fires_at_its_new_time_only(clock: MockClock) -> None:
    """Later, earlier, now, and away and back again; deliveries and rows show the time that counts."""
    async with topic_broker(clock) as (node, client):
        await client.subscribe()
        base = START_MS + HOUR_MS
        await client.publish(*(event(f"e{n}", base + n) for n in range(4)))
        assert await change(client, "e0", base + 5000) == "rescheduled"
        assert await change(client, "e1", base - 5000) == "rescheduled"
        assert await change(client, "e2", NOW) == "rescheduled"
        assert await change(client, "e3", base + 9000) == "rescheduled"
        assert await change(client, "e3", base + 3) == "rescheduled"
        first = await client.next_event()
        assert (first.message_id, first.sent_ms - first.schedule_ts) == ("e2", 0)
        await client.ack(first)
        expected = [(base - 5000, "e1"), (base + 3, "e3"), (base + 5000, "e0")]
        assert await rows(client) == expected
        await save_views(node)
        assert await rows(client) == expected
        await node.restart()
        await client.reconnect()
        await client.subscribe()
        got = await client.events(3, within_ms=2 * HOUR_MS)
        assert [(d.schedule_ts, d.message_id) for d in got] == expected
        assert [d.sent_ms for d in got] == [due for due, _ in expected]
        await client.ack(*got)
        assert await client.drain(HOUR_MS) == []


async def test_a_row_keeps_its_neighbours_when_it_is_moved_within_its_slice(
    clock: MockClock,
) -> None:
    """Two checkpoints write the same slice; neither replaces the other's rows."""
    async with topic_broker(clock) as (node, client):
        base = START_MS + HOUR_MS
        await client.publish(*(event(f"e{n}", base + n) for n in range(3)))
        await save_views(node)
        assert await change(client, "e0", base + 10) == "rescheduled"
        await save_views(node)
        await node.restart()
        await client.reconnect()
        assert await rows(client) == [(base + 1, "e1"), (base + 2, "e2"), (base + 10, "e0")]


async def test_cancel_where_cancels_the_range_and_a_dry_run_only_counts(clock: MockClock) -> None:
    """Page by page; what is outside stays."""
    async with topic_broker(clock) as (_, client):
        base = START_MS + HOUR_MS
        await client.publish(*(event(f"e{n}", base + n) for n in range(10)))
        for dry_run, left in ((True, 10), (False, 5)):
            after, total = None, 0
            while True:
                reply = await client.call(
                    m.CancelWhere, "t", 0, base + 2, base + 7, None, after, 2, dry_run
                )
                total, after = total + reply.count, reply.next
                if after is None:
                    break
            assert total == 5
            assert await count(client) == left


async def test_the_time_a_moved_event_had_is_known_after_it_fired(clock: MockClock) -> None:
    """`get` shows when it was due, before and after checkpoint and restart."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + HOUR_MS))
        await change(client, "a", START_MS + 1000)
        await node.wait(2000)
        for _ in range(2):
            reply = await client.get("a")
            assert (reply.state, EventBatch(reply.batch).due[0]) == ("fired", START_MS + 1000)
            await save_views(node)
            await node.restart()
            await client.reconnect()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_pending_is_published_less_fired_less_cancelled(clock: MockClock, seed: int) -> None:
    """I13 against a model, with crashes, restarts and checkpoints between the changes."""
    random = Random(seed)
    due: dict[str, int] = {}
    async with topic_broker(clock) as (node, client):
        for step in range(120):
            action = random.choice("ppppccmmmwr")
            if action == "p":
                new = {f"{step}-{n}": node.now_ms + random.randrange(1, 90_000) for n in range(3)}
                await client.publish(*(event(i, at) for i, at in new.items()))
                due |= new
            elif action in "cm" and due:
                name = random.choice(sorted(due))
                at = None if action == "c" else node.now_ms + random.randrange(1, 90_000)
                pending = due.pop(name)
                outcome = await change(client, name, at)
                if outcome == "already_fired":
                    assert pending <= node.now_ms
                elif at is not None:
                    due[name] = at
            elif action == "w":
                await node.wait(random.randrange(1, 20_000))
            elif action == "r":
                await (node.crash() if random.random() < 0.5 else node.stop())
                await node.start()
                await client.reconnect()
            with trio.move_on_after(0.001):
                await trio.sleep_forever()
            due = {name: at for name, at in due.items() if at > node.now_ms}
            assert sorted(await rows(client)) == sorted((at, name) for name, at in due.items())
        assert await count(client) == len(due)


async def test_a_page_shows_when_each_event_was_published(clock: MockClock) -> None:
    """Columns of a page are as long as its batch and belong to it."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("b", START_MS + 2 * HOUR_MS))
        await node.wait(5000)
        second_ms = node.now_ms
        await client.publish(event("a", START_MS + HOUR_MS))
        page = await client.call(m.ListPending, "t", 0, *EVER, None, None, 10)
        assert list(array("q", bytes(page.offsets))) == [1, 0]
        published = list(array("q", bytes(page.published)))
        assert published[0] == second_ms > published[1]

"""The oldest segments go when nothing needs them; what is pending stays, wherever it was stored.

Under virtual time, with segments of a few kilobytes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.partition.partition import PartitionId
from chronosdb.node.partition.records import Kind
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument, NotFound, Overloaded
from tests.support.in_process import START_MS, Broker, topic_broker
from tests.support.partition_log import open_log
from tests.support.raw_client import Delivery, RawClient, event

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: Segments of a few events; clients may be silent.
NODE: dict[str, Any] = {"segment_bytes": 16 * 1024, "idle_timeout_ms": 5000 * DAY_MS}
#: A topic that forgets after two days, and may delete after three.
SHORT = {"dedup_window_ms": 2 * DAY_MS, "retention_ms": 3 * DAY_MS}

pytestmark = pytest.mark.usefixtures("steady")


def segments(node: Broker, partition: int = 0) -> int:
    """How many segments the log of topic "t" has."""
    return len(open_log(node.disk, PartitionId("t", 1, partition)).segments())


def first_offset(node: Broker) -> int:
    """Where the log of topic "t" begins."""
    return open_log(node.disk).segments()[0].start.offset


async def days(node: Broker, client: RawClient, count: int, *, per_day: int = 4) -> None:
    """Traffic: events of 2 KB, due as they are published."""
    for _ in range(count):
        for n in range(per_day):
            await client.publish(event(f"day {node.now_ms} {n}", None, b"x" * 2000))
        await node.advance(DAY_MS - 1000)
        await node.wait(1000)  # for who does things by and by
        await client.reconnect()


async def all_of(client: RawClient, group: str = "all") -> list[Delivery]:
    """Whatever can be delivered now, acked."""
    await client.subscribe(group)
    found: list[Delivery] = []
    while got := await client.drain(100):
        await client.ack(*got)
        found += got
    return found


async def fired(node: Broker, client: RawClient, due: dict[str, int]) -> list[Delivery]:
    """Leaps to each due time, at which just that event must arrive, and acks it."""
    found = []
    for name, due_ms in sorted(due.items(), key=lambda item: item[1]):
        await node.advance(max(0, due_ms - 1 - node.now_ms))
        while got := await client.drain(0):
            assert {d.message_id for d in got}.isdisjoint(due)
            await client.ack(*got)
        await node.wait(1)
        found.append(await client.next_event(within_ms=10))
        assert (found[-1].message_id, found[-1].schedule_ts) == (name, due_ms)
        await client.ack(found[-1])
    return found


async def restart(node: Broker, client: RawClient, how: str) -> None:
    """The node ends and begins again."""
    if how == "crash":
        await node.crash()
    else:
        await node.stop()
    if how == "views deleted":
        node.views.discard()
    await node.start()
    await node.wait(1000)
    await client.reconnect()


HOW = pytest.mark.parametrize("how", ["restart", "crash", "views deleted"])


async def test_without_a_limit_nothing_is_ever_deleted(clock: MockClock) -> None:
    """Absent means for ever."""
    async with topic_broker(clock, **NODE) as (node, client):
        await days(node, client, 30)
        assert first_offset(node) == 0


async def test_what_is_older_than_retention_goes_a_segment_at_a_time(clock: MockClock) -> None:
    """The log is as long as three days and a segment or two, whatever the month was."""
    async with topic_broker(clock, topic=SHORT, **NODE) as (node, client):
        await days(node, client, 30)
        assert segments(node) <= 5
        assert 30 * 4 - 5 * 8 <= first_offset(node) <= 30 * 4 - 2 * 4


async def test_a_log_larger_than_retention_bytes_loses_its_oldest(clock: MockClock) -> None:
    """But nothing of the dedup window: a day here, which is larger."""
    topic = {"dedup_window_ms": DAY_MS, "retention_bytes": 20_000}
    async with topic_broker(clock, topic=topic, **NODE) as (node, client):
        await days(node, client, 20)
        assert segments(node) <= 3
        await days(node, client, 1, per_day=40)
        assert first_offset(node) <= 80
        again = await client.publish(event(f"day {node.now_ms - DAY_MS} 0", None, b"x" * 2000))
        assert again.duplicates


@HOW
async def test_pending_events_are_carried_and_fire_once_at_their_time(
    clock: MockClock, how: str
) -> None:
    """With their bytes, headers, key, offset and time of publishing."""
    async with topic_broker(clock, topic=SHORT, **NODE) as (node, client):
        due = {f"far {n}": START_MS + (41 + n) * DAY_MS for n in range(10)}
        rows = [event(name, at, name.encode(), key=b"k", meta={"n": 1}) for name, at in due.items()]
        published_ms = node.now_ms
        await client.publish(*rows)
        await days(node, client, 20)
        assert first_offset(node) > 10
        await restart(node, client, how)
        await days(node, client, 20)
        await restart(node, client, how)
        await client.subscribe("late", start="latest")
        got = await fired(node, client, due)
        assert [d.offset for d in got] == list(range(10))
        assert {d.published_ms for d in got} == {published_ms}
        assert [(d.payload, d.key, d.meta) for d in got] == [
            (name.encode(), b"k", {"n": 1}) for name in due
        ]
        await node.advance(30 * DAY_MS)
        assert await client.drain(1000) == []


@HOW
async def test_a_carried_event_is_a_row_that_can_be_seen_moved_and_cancelled(
    clock: MockClock, how: str
) -> None:
    """By its id, which is known for as long as it is pending."""
    async with topic_broker(clock, topic=SHORT, **NODE) as (node, client):
        far = START_MS + 100 * DAY_MS
        names = ["kept", "cancelled", "moved", "moved back", "moved early"]
        await client.publish(*(event(name, far) for name in names))
        await change(client, "moved early", START_MS + 50 * DAY_MS)
        await change(client, "moved back", far + 20 * DAY_MS)
        await days(node, client, 20)
        await restart(node, client, how)
        assert [(await client.get(name)).state for name in names] == ["pending"] * 5
        assert (await client.publish(event("kept", far))).first_offset == 0
        assert await change(client, "cancelled", None) == "cancelled"
        assert await change(client, "moved", START_MS + 60 * DAY_MS) == "rescheduled"
        assert await change(client, "moved back", far + 10 * DAY_MS) == "rescheduled"
        await days(node, client, 20)
        await restart(node, client, how)
        await client.subscribe("late", start="latest")
        due = {"moved early": 50, "moved": 60, "kept": 100, "moved back": 110}
        await fired(node, client, {name: START_MS + at * DAY_MS for name, at in due.items()})


@HOW
async def test_a_slow_group_holds_the_log(clock: MockClock, how: str) -> None:
    """Until it has settled; then it is where it was, though its records are gone."""
    async with topic_broker(clock, topic=SHORT, **NODE) as (node, client):
        await days(node, client, 1)
        await client.subscribe("slow", credit=1)
        held = await client.next_event()
        await days(node, client, 20)
        assert first_offset(node) == 0
        await restart(node, client, how)
        got = await all_of(client, "slow")
        assert [d.offset for d in got] == list(range(held.offset, 21 * 4))
        await days(node, client, 5)
        assert first_offset(node) > 40
        await restart(node, client, how)
        assert [d.offset for d in await all_of(client, "slow")] == list(range(84, 104))


@HOW
async def test_earliest_is_the_first_that_is_stored(clock: MockClock, how: str) -> None:
    """For a new group, and for one that is reset; a replay below it is an error that says so."""
    async with (
        topic_broker(clock, topic=SHORT, **NODE) as (node, client),
        node.library() as db,
    ):
        await days(node, client, 20)
        await restart(node, client, how)
        # The first that is stored may have fired before, and the first that fired be stored again.
        start = first_offset(node)
        position = open_log(node.disk).segments()[0].start.position
        assert 0 < position <= start
        fired = list(range(position, 80))
        assert [d.offset for d in await all_of(client)] == fired
        await client.close()
        await db.reset_group("t", "all", to="earliest")
        await client.reconnect()
        assert [d.offset for d in await all_of(client)] == fired
        assert [e.offset async for e in db.replay("t", by="fired")] == fired
        for by in ("offset", "published"):
            assert [e.offset async for e in db.replay("t", by=by)] == list(range(start, 80))
        with pytest.raises(NotFound, match=f"stored from offset {start}"):
            await anext(db.replay("t", start=start - 1))


@HOW
async def test_what_fired_later_is_carried_for_groups_and_replays(
    clock: MockClock, how: str
) -> None:
    """Its bytes are from long before the oldest segment, its position is not."""
    async with (
        topic_broker(clock, topic=SHORT, **NODE) as (node, client),
        node.library(timeout_s=60) as db,
    ):
        await client.publish(
            event("fired", START_MS + 18 * DAY_MS + 1, b"f"),
            event("moved", START_MS + 90 * DAY_MS, b"m"),
            event("pending", START_MS + 90 * DAY_MS, b"p"),
        )
        await change(client, "moved", START_MS + 19 * DAY_MS)
        await days(node, client, 20)
        await restart(node, client, how)
        old = [d for d in await all_of(client) if d.offset < 3]
        assert [(d.message_id, d.payload) for d in old] == [("fired", b"f"), ("moved", b"m")]
        fired = [e async for e in db.replay("t", by="fired") if e.offset < 3]
        assert [(e.message_id, e.payload) for e in fired] == [("fired", b"f"), ("moved", b"m")]
        scheduled = [e async for e in db.replay("t", by="scheduled") if e.offset < 3]
        assert [(e.message_id, e.schedule_ts) for e in scheduled] == [
            ("fired", START_MS + 18 * DAY_MS + 1),
            ("moved", START_MS + 19 * DAY_MS),
            ("pending", START_MS + 90 * DAY_MS),
        ]


async def test_retries_and_attempts_survive_the_records_that_made_them(clock: MockClock) -> None:
    """Of a group that is far from the oldest segment but for one event that it keeps failing."""
    async with topic_broker(clock, topic=SHORT, **NODE, max_attempts=1000) as (node, client):
        await days(node, client, 10)
        await all_of(client, "g")
        await client.publish(event("fails"))
        await client.nack(await client.next_event(), delay_ms=2 * DAY_MS)
        await days(node, client, 3)
        await restart(node, client, "views deleted")
        await client.subscribe("g")
        got = await client.events(13)
        assert Counter(d.message_id == "fails" for d in got) == {False: 12, True: 1}
        [late] = [d for d in got if d.message_id == "fails"]
        assert (late.attempt, late.offset) == (2, 40)


async def test_dead_letters_stay_until_they_are_dealt_with(clock: MockClock) -> None:
    """However old they are, also where the node deletes everything else."""
    async with topic_broker(
        clock,
        dedup_window_ms=DAY_MS,
        retention_ms=DAY_MS,
        **NODE,
        max_attempts=1,
    ) as (node, client):
        for n in range(20):
            await client.publish(event(f"bad {n}", None, b"x" * 2000))
        await client.subscribe("g")
        for delivery in await client.events(20):
            await client.nack(delivery)
        await client.reconnect()
        await days(node, client, 10)
        letters = open_log(node.disk, PartitionId("t.dlq", 2, 0))
        assert letters.segments()[0].start.offset == 0
        assert first_offset(node) == 20
        page = await client.call(m.ListDeadLetters, "t.dlq", 0, 0, 100)
        assert len(page.positions.cast("q")) == 20


async def test_what_was_carried_twice_is_stored_once_in_the_end(clock: MockClock) -> None:
    """Each pass carries what the last one carried; the log holds little more than what is pending."""
    async with topic_broker(clock, topic=SHORT, **NODE) as (node, client):
        await client.publish(*(event(f"far {n}", START_MS + 1000 * DAY_MS) for n in range(100)))
        await days(node, client, 60)
        carried = [r for r in open_log(node.disk).scan() if r.kind == Kind.CARRY]
        assert 1 <= len(carried) <= 8
        store = node.views.store.namespaced(PartitionId("t", 1, 0).log_id + b"carried:")
        assert 1 <= len(list(store.scan())) <= 8


async def test_retention_shorter_than_the_dedup_window_is_refused(clock: MockClock) -> None:
    """The error names both."""
    async with topic_broker(clock) as (_, client):
        with pytest.raises(InvalidArgument, match=r"retention_ms is 1d.*dedup_window_ms, 7d.*too"):
            await client.create_topic("other", 1, retention_ms=DAY_MS)
        assert await client.create_topic("other", 1, retention_ms=0)


async def change(client: RawClient, message_id: str, due_ms: int | None) -> str:
    """Cancels or moves an event of topic "t"; the outcome."""
    reply = await client.call(m.Change, "t", 0, message_id.encode(), due_ms)
    assert isinstance(reply, m.Changed)
    return reply.outcome


@pytest.mark.parametrize("end", ["stop", "crash", "delete"])
async def test_the_end_may_come_in_the_middle_of_a_pass(clock: MockClock, end: str) -> None:
    """Of the node, which finds everything later, or of the topic."""
    async with topic_broker(clock, topic=SHORT, **NODE) as (node, client), trio.open_nursery() as n:
        names = {f"far {n}" for n in range(100)}
        await client.publish(*(event(name, START_MS + 90 * DAY_MS) for name in names))
        await days(node, client, 3)
        await client.publish(event("last", None, b"x" * 5000))
        with node.threads.held("next"):
            await node.advance(DAY_MS)
            await client.reconnect()
            match end:
                case "stop":
                    n.start_soon(node.stop)
                case "crash":
                    await node.crash()
                case "delete":
                    n.start_soon(client.call, m.DeleteTopic, "t")
            await node.wait(10)
        await node.wait(10)
        if end == "delete":
            assert [d for d in node.disk.listdir("/data/partitions") if d.startswith("1-")] == []
            return
        assert first_offset(node) == 0
        await node.start()
        await node.wait(1000)
        assert first_offset(node) > 100
        await client.reconnect()
        page = await client.call(m.ListPending, "t", 0, 0, 1 << 42, None, None, 1000)
        assert len(page.offsets.cast("q")) == 100


async def test_a_group_that_begins_in_the_middle_of_a_pass_gets_everything(
    clock: MockClock,
) -> None:
    """The pass is given up; one that begins after it was decided begins behind the cut."""
    async with topic_broker(clock, topic=SHORT, **NODE) as (node, client):
        await days(node, client, 4, per_day=6)
        with node.threads.held("next"):
            await node.advance(DAY_MS)
            await client.reconnect()
            await client.subscribe("early", credit=1)
            held = await client.next_event()
        await node.wait(1000)
        assert (held.offset, first_offset(node)) == (0, 0)
        await client.ack(held)
        assert [d.offset for d in await all_of(client, "early")] == list(range(1, 24))
        await client.reconnect()
        with node.threads.held("drop_before"):
            await node.advance(DAY_MS)
            await client.reconnect()
            await node.wait(100)
            assert first_offset(node) == 0
        await client.subscribe("late")
        first = await client.next_event()
        assert first.position > 0
        assert first.position == open_log(node.disk).segments()[0].start.position


async def fill_up(client: RawClient) -> None:
    """More than there is space for."""
    for n in range(20):
        await client.publish(event(f"too much {n}", None, b"x" * 2000))


async def test_a_full_disk_is_freed(clock: MockClock) -> None:
    """Carrying may use the reserve, and needs no checkpoint for what was saved long ago."""
    async with topic_broker(clock, topic=SHORT, disk_reserve_bytes=100_000, **NODE) as (
        node,
        client,
    ):
        await client.publish(*(event(f"far {n}", START_MS + 90 * DAY_MS) for n in range(10)))
        await days(node, client, 3)
        node.disk.capacity = node.disk.used_bytes + 90_000
        with pytest.raises(Overloaded):
            await fill_up(client)
        await node.advance(DAY_MS)
        await node.wait(1000)
        assert first_offset(node) > 0
        await restart(node, client, "crash")
        assert (await client.get("far 3")).state == "pending"


async def test_an_event_that_no_segment_can_hold_any_more_keeps_the_log(clock: MockClock) -> None:
    """The node was given smaller segments meanwhile; it says so, and goes on."""
    async with topic_broker(
        clock, topic=SHORT, segment_bytes=64 * 1024, idle_timeout_ms=1 << 40
    ) as (node, client):
        await client.publish(event("large", START_MS + 90 * DAY_MS, b"x" * 20_000))
        await days(node, client, 2)
        node.settings["segment_bytes"] = 16 * 1024
        await restart(node, client, "restart")
        await days(node, client, 10)
        assert first_offset(node) == 0
        assert (await client.get("large")).state == "pending"

"""Replays on a real node: flow control, what cuts them, what they leave alone, and how they end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from chronosdb.client import Client, Event, Replay, ReplayedEvent
from chronosdb.client.replay import source
from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import Conflict, InvalidArgument, NotFound, Overloaded
from chronosdb.wire.limits import MAX_REPLAYS
from tests.support.in_process import START_MS, broker, topic_broker
from tests.support.raw_client import RawClient, event

BY_TIME = ("published", "scheduled", "fired")
EVERY_ORDER = ("offset", *BY_TIME)


async def ids(replay: Replay) -> list[str]:
    return [event.message_id async for event in replay]


async def fill(db: Client, count: int, *, partitions: int = 1, spacing_ms: int = 0) -> list[str]:
    """A topic "t" with events e0, e1, … that have fired, published one after the other."""
    await db.create_topic("t", partitions=partitions)
    for n in range(count):
        await db.publish("t", b"%d" % n, message_id=f"e{n}")
        await trio.sleep(spacing_ms / 1000)
    return [f"e{n}" for n in range(count)]


def replay_request(client: RawClient, stream: int, **given: object) -> m.Replay:
    """A request with the usual values."""
    usual: dict[str, object] = {
        "topic": "t",
        "partition": 0,
        "by": "offset",
        "start": None,
        "end": None,
        "key": None,
        "follow": False,
        "place": None,
        "credit": 1 << 20,
    }
    return m.Replay(client.number(), stream, **{**usual, **given})  # type: ignore[arg-type]


async def open_stream(client: RawClient, stream: int, **given: object) -> m.ReplayPlace:
    request = replay_request(client, stream, **given)
    await client.post(request)
    reply = await client.reply(request.request)
    assert isinstance(reply, m.ReplayOpened)
    return reply.place


def frames(client: RawClient) -> list[EventBatch]:
    """The frames that have come, which are then forgotten."""
    found = [EventBatch(one.batch) for one in client.streamed if isinstance(one, m.Replayed)]
    client.streamed.clear()
    return found


async def test_what_a_replayed_event_says(clock: MockClock) -> None:
    """Every field is that of the event; position and fire time are known by "fired" alone."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await db.create_topic("t")
        due = START_MS + 5000
        await db.publish("t", b"x", message_id="a", at=due, key=b"k", meta={"n": 1})
        published_ts = node.now_ms
        await db.reschedule("t", "a", at=due + 1000, key=b"k")
        await node.wait(10_000)
        [event] = [e async for e in db.replay("t")]
        assert (event.message_id, event.payload, event.key, event.meta) == (
            "a",
            b"x",
            b"k",
            {"n": 1},
        )
        assert (event.partition, event.offset, event.published_ts) == (0, 0, published_ts)
        assert (event.schedule_ts, event.position, event.fired_ts) == (due, None, None)
        [event] = [e async for e in db.replay("t", by="scheduled")]
        assert (event.schedule_ts, event.position, event.fired_ts) == (due + 1000, None, None)
        [event] = [e async for e in db.replay("t", by="fired")]
        assert (event.schedule_ts, event.position, event.fired_ts) == (due + 1000, 0, due + 1000)
        assert repr(event) == "<ReplayedEvent 'a' partition=0 offset=0>"


async def test_nothing_is_sent_beyond_the_credit(clock: MockClock) -> None:
    """Only the last event of a frame may exceed it; then there is silence; more credit, more events."""
    async with topic_broker(clock) as (_, client):
        await client.publish(*(event(f"e{n}", payload=bytes(100)) for n in range(50)))
        await open_stream(client, 1, credit=500)
        credit, received = 500, 0
        while received < 50:
            assert await client.drain(1000) == []
            batches = frames(client)
            received += sum(batch.count for batch in batches)
            credit -= sum(len(batch.blob) for batch in batches)
            assert -130 < credit <= 0 or received == 50
            await client.post(m.ReplayCredit(1, 500))
            credit += 500


async def test_an_event_larger_than_the_credit_comes_alone_and_is_paid_for_later(
    clock: MockClock,
) -> None:
    """Otherwise it would never come."""
    async with topic_broker(clock) as (_, client):
        await client.publish(event("a", payload=bytes(10_000)), event("b", payload=b"b"))
        await open_stream(client, 1, credit=10)
        await client.drain(1000)
        [batch] = frames(client)
        assert batch.ids() == [b"a"]
        await client.post(m.ReplayCredit(1, 5000))
        await client.drain(1000)
        assert frames(client) == []
        await client.post(m.ReplayCredit(1, 6000))
        await client.drain(1000)
        assert [batch.ids() for batch in frames(client)] == [[b"b"]]


async def test_large_events_in_any_order_come_in_frames_of_bounded_size(clock: MockClock) -> None:
    """Due in the opposite order of their offsets, and too large together for one page."""
    async with topic_broker(clock) as (_, client):
        for n in range(20):
            late = START_MS + 100_000 - n
            await client.publish(
                event(f"a{n}", late, bytes(50_000)), event(f"b{n}", late - 1000, bytes(10))
            )
        await open_stream(client, 1, by="scheduled", credit=8 << 20)
        await client.drain(1000)
        batches = frames(client)
        found = [i.decode() for batch in batches for i in batch.ids()]
        assert found == [f"{kind}{n}" for kind in "ba" for n in reversed(range(20))]
        assert all(len(batch.blob) <= 64 * 1024 for batch in batches)


async def test_a_client_that_does_not_read_holds_up_only_itself(clock: MockClock) -> None:
    """The node keeps a few MiB for it at most, and serves others; later it gets everything."""
    async with topic_broker(clock) as (node, client):
        for n in range(40):
            await client.publish(event(f"e{n}", payload=bytes(500_000)))
        slow = await node.connect()
        await open_stream(slow, 1, credit=16 << 20)
        await slow.post(m.ReplayCredit(1, 16 << 20))
        await node.wait(1000)
        await client.publish(event("more"))
        await slow.drain(1000)
        assert sum(batch.count for batch in frames(slow)) == 40


@pytest.mark.parametrize("by", EVERY_ORDER)
async def test_the_replay_ends_with_what_was_committed_when_it_began(
    clock: MockClock, by: str
) -> None:
    """Publishing goes on meanwhile, and adds nothing to it (I12)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_AHEAD_BYTES", 1)
        patch.setattr(source, "_AHEAD_BYTES_MIN", 60)
        async with broker(clock) as node, node.library(timeout_s=60) as db:
            expected = await fill(db, 10, partitions=2)
            found: list[ReplayedEvent] = []
            async for one in db.replay("t", by=by):
                found.append(one)
                await db.publish("t", b"", message_id=f"later{len(found)}", at=1)
            assert sorted(e.message_id for e in found) == sorted(expected)


@pytest.mark.parametrize("by", ["offset", "published", "fired"])
async def test_a_replay_that_follows_goes_on_with_what_comes(clock: MockClock, by: str) -> None:
    """First the past in order, then each new event as it is committed; restarts do not matter."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        past = await fill(db, 6, partitions=3, spacing_ms=1)
        replay = db.replay("t", by=by, follow=True)
        first = [(await anext(replay)).message_id for _ in past]
        assert sorted(first) == past if by == "offset" else first == past
        for n in range(6):
            if n == 3:
                await node.restart()
            await db.publish("t", b"", message_id=f"new{n}", after=0.5)
            assert (await anext(replay)).message_id == f"new{n}"
        with trio.move_on_after(60) as patience:
            await anext(replay)
        assert patience.cancelled_caught


async def test_following_stops_at_the_end_of_the_range(clock: MockClock) -> None:
    """An end that lies in the future is reached one day."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await fill(db, 1)
        end_ms = node.now_ms + 10_000
        replay = db.replay("t", by="published", end=end_ms, follow=True)
        assert (await anext(replay)).message_id == "e0"
        await db.publish("t", b"", message_id="in")
        assert (await anext(replay)).message_id == "in"
        await node.wait(10_000)
        await db.publish("t", b"", message_id="out")
        assert await ids(replay) == []
        by_offset = db.replay("t", start=1, end=2, follow=True)
        assert await ids(by_offset) == ["in"]


async def test_following_from_a_time_to_come_waits_for_it(clock: MockClock) -> None:
    """What is committed before the start of the range is not part of it."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await fill(db, 1)
        start_ms = node.now_ms + 1000
        replay = db.replay("t", by="fired", start=start_ms, follow=True)
        async with trio.open_nursery() as nursery:

            async def publish() -> None:
                await db.publish("t", b"", message_id="early", after=0.5)
                await db.publish("t", b"", message_id="in", after=1.5)

            nursery.start_soon(publish)
            assert (await anext(replay)).message_id == "in"


async def test_groups_do_not_notice(clock: MockClock) -> None:
    """A group goes on where it was, and gets each event once (I12)."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        expected = await fill(db, 10)
        got: list[str] = []

        async def consume(count: int) -> None:
            async with db.consume("t", group="g", credits=2) as events:
                async for one in events:
                    got.append(one.message_id)
                    await one.ack()
                    if len(got) == count:
                        return

        await consume(4)
        for by in EVERY_ORDER:
            assert await ids(db.replay("t", by=by)) == expected
        await consume(10)
        assert got == expected


async def fail_at_the_first(replay: Replay) -> None:
    async for one in replay:
        one.offset // 0


async def test_an_iteration_that_is_left_ends_its_streams(clock: MockClock) -> None:
    """By `break`, by an error, by `aclose`: else the connection would run out of streams."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await fill(db, 300)
        for _ in range(2 * MAX_REPLAYS):
            async for _ in db.replay("t"):
                break
            with pytest.raises(ZeroDivisionError):
                await fail_at_the_first(db.replay("t"))
            replay = db.replay("t")
            await anext(replay)
            await replay.aclose()
            assert await ids(replay) == []


async def test_what_has_arrived_can_be_taken_without_waiting(clock: MockClock) -> None:
    """Nothing before the first event; then in batches; the order is the same."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        expected = await fill(db, 20)
        replay = db.replay("t")
        assert replay.take(5) == []
        found = [await anext(replay), *replay.take(5)]
        found += [*replay.take(100), *[e async for e in replay]]
        assert [e.message_id for e in found] == expected
        with pytest.raises(InvalidArgument, match="limit"):
            replay.take(0)


async def test_speed_keeps_the_distances(clock: MockClock) -> None:
    """Twice as fast: half the time between any two events; nothing is to be taken ahead of its turn."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await fill(db, 5, spacing_ms=800)
        replay = db.replay("t", by="published", speed=2)
        began_s, turns = None, []
        async for _ in replay:
            began_s = began_s or trio.current_time()
            turns.append(round(trio.current_time() - began_s, 3))
            assert replay.take(10) == []
        assert turns == [0, 0.4, 0.8, 1.2, 1.6]


async def test_a_token_is_for_the_same_replay_only(clock: MockClock) -> None:
    """Other arguments, and bytes that are no token, are refused by name."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await fill(db, 3, partitions=2)
        [first, *_] = [e async for e in db.replay("t", by="published", end=START_MS * 2)]
        with pytest.raises(InvalidArgument, match=r"'published'.*give the same"):
            db.replay("t", by="fired", end=START_MS * 2, token=first.token)
        with pytest.raises(InvalidArgument, match="give the same"):
            db.replay("t", by="published", token=first.token)
        for wrong in (b"", b"\x90", b"\xff" * 20, first.token[:-1]):
            with pytest.raises(InvalidArgument, match="no token"):
                db.replay("t", token=wrong)
        with pytest.raises(InvalidArgument, match="bytes"):
            db.replay("t", token="text")  # type: ignore[arg-type]
        newer = first.token[:1] + b"\x09" + first.token[2:]
        with pytest.raises(InvalidArgument, match="version 9"):
            db.replay("t", token=newer)


@pytest.mark.parametrize("by", EVERY_ORDER)
async def test_a_token_keeps_the_end_that_the_replay_had(clock: MockClock, by: str) -> None:
    """Also for partitions that had given nothing yet: what came later is no part of it."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        expected = await fill(db, 12, partitions=3)
        replay = db.replay("t", by=by)
        first = await anext(replay)
        token = first.token
        for n in range(12):
            await db.publish("t", b"", message_id=f"later{n}", at=1)
        found = [first.message_id, *await ids(db.replay("t", by=by, token=token))]
        assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"by": "colour"}, "by must be one of offset, published, fired, scheduled"),
        ({"by": "scheduled", "follow": True}, "cannot follow"),
        ({"speed": 0}, "above 0"),
        ({"speed": float("inf")}, "finite"),
        ({"speed": "fast"}, "number"),
        ({"partition": -1}, "partition"),
        ({"start": -1}, "offset"),
        ({"key": b""}, "key"),
    ],
)
async def test_arguments_that_make_no_sense(
    clock: MockClock, arguments: dict[str, object], why: str
) -> None:
    """They are refused at once, by name."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        with pytest.raises(InvalidArgument, match=why):
            db.replay("t", **arguments)  # type: ignore[arg-type]


async def test_what_is_not_there(clock: MockClock) -> None:
    """A topic or a partition that does not exist; a range with nothing in it is no error."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        with pytest.raises(NotFound, match="no topic 'nope'"):
            await ids(db.replay("nope"))
        await fill(db, 2)
        with pytest.raises(NotFound, match="has 1 partitions"):
            await ids(db.replay("t", partition=7))
        assert await ids(db.replay("t", start=2)) == []
        assert await ids(db.replay("t", start=1, end=1)) == []
        assert await ids(db.replay("t", by="published", start=START_MS * 2)) == []
        assert await ids(db.replay("t", by="scheduled", end=0)) == []


async def test_too_many_partitions_to_merge(clock: MockClock) -> None:
    """In order of time that is refused; one by one they can be replayed."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await db.create_topic("wide", partitions=MAX_REPLAYS + 1)
        for n in range(80):
            await db.publish("wide", b"", message_id=f"e{n}")
        with pytest.raises(InvalidArgument, match="at most 64 partitions"):
            await ids(db.replay("wide", by="published"))
        found = [e async for e in db.replay("wide")]
        assert len(found) == 80
        partition, mine = (
            found[0].partition,
            [e for e in found if e.partition == found[0].partition],
        )
        apart = db.replay("wide", by="published", partition=partition)
        assert await ids(apart) == [e.message_id for e in mine]


async def test_limits_and_mistakes_of_a_client(clock: MockClock) -> None:
    """A number twice, one stream too many, following in order of due time; and what is ignored."""
    async with topic_broker(clock) as (_, client):
        await client.publish(event("a"))
        for stream in range(MAX_REPLAYS):
            await open_stream(client, stream, follow=True)
        with pytest.raises(Conflict, match="stream 3"):
            await open_stream(client, 3)
        with pytest.raises(Overloaded, match="64 replays"):
            await open_stream(client, MAX_REPLAYS)
        await client.post(m.ReplayEnd(3))
        await client.post(m.ReplayEnd(1000))
        await client.post(m.ReplayCredit(1000, 1))
        with pytest.raises(InvalidArgument, match="cannot follow"):
            await open_stream(client, 100, by="scheduled", follow=True)
        await open_stream(client, 101)


def keys(events: Sequence[ReplayedEvent]) -> set[bytes | None]:
    return {event.key for event in events}


@pytest.mark.parametrize("by", EVERY_ORDER)
async def test_by_key_only_its_events_come(clock: MockClock, by: str) -> None:
    """From its partition; also where few of many events have it."""
    async with broker(clock) as node, node.library(timeout_s=60) as db:
        await db.create_topic("t", partitions=3)
        many = [
            Event(
                payload=b"", message_id=f"e{n}", key=b"rare" if n % 100 == 7 else b"k%d" % (n % 9)
            )
            for n in range(1000)
        ]
        await db.publish_many("t", many)
        found = [e async for e in db.replay("t", by=by, key=b"rare")]
        assert [e.message_id for e in found] == [f"e{n}" for n in range(7, 1000, 100)]
        assert keys(found) == {b"rare"}
        assert [e async for e in db.replay("t", by=by, key=b"nobody")] == []

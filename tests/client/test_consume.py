from __future__ import annotations

import datetime as dt
from typing import Any

import anyio
import pytest

from chronosdb.client import Client, Event, InvalidArgument, NotFound, Overloaded, ProtocolError
from chronosdb.wire import messages as m
from tests.client.fake_node import (
    WALL_MS,
    Peer,
    client_of,
    fails_with,
    node_and_client,
    one_delivery,
    running_node,
    stays_silent,
)
from tests.client.virtual_time import both_backends


async def publish(db: Client, count: int, topic: str = "orders") -> None:
    await db.publish_many(topic, [Event(payload=b"%d" % i) for i in range(count)])


@both_backends
async def test_a_delivery_shows_everything_about_the_event() -> None:
    async with node_and_client() as (node, db):
        await db.publish(
            "orders", b"p", message_id="a", key=b"k", meta={"n": None}, at=WALL_MS + 100
        )
        node.now_ms += 107
        async with db.consume("orders", group="g") as events:
            ev = await anext(events)
            assert (ev.message_id, ev.payload, ev.key, ev.meta) == ("a", b"p", b"k", {"n": None})
            assert (ev.schedule_ts, ev.published_ts) == (WALL_MS + 100, WALL_MS)
            assert (ev.partition, ev.offset, ev.position, ev.attempt) == (0, 0, 0, 1)
            assert ev.lateness_ms == 7
            assert repr(ev) == "<Delivery 'a' partition=0 position=0 attempt=1>"


@both_backends
async def test_an_event_without_key_and_headers_has_none() -> None:
    async with node_and_client() as (_, db):
        await db.publish("orders", b"")
        async with db.consume("orders", group="g") as events:
            ev = await anext(events)
            assert (ev.key, ev.meta, ev.payload) == (None, {}, b"")


@both_backends
async def test_deliveries_come_in_the_order_of_their_positions() -> None:
    async with node_and_client() as (_, db):
        await publish(db, 10)
        async with db.consume("orders", group="g", credits=3) as events:
            for i in range(10):
                ev = await anext(events)
                assert (ev.position, ev.payload) == (i, b"%d" % i)
                await ev.ack()


@both_backends
async def test_iteration_waits_for_events_that_are_not_due_yet() -> None:
    async with node_and_client() as (node, db), db.consume("orders", group="g") as events:
        await db.publish("orders", b"later", after=60)
        with anyio.move_on_after(1) as waited:
            await anext(events)
        assert waited.cancelled_caught
        node.advance(60_000)
        assert (await anext(events)).payload == b"later"


@both_backends
async def test_no_more_than_the_credits_is_ever_on_the_way_or_in_hand() -> None:
    async with node_and_client() as (node, db):
        await publish(db, 10)
        async with db.consume("orders", group="g", credits=4) as events:
            held = [await anext(events) for _ in range(4)]
            with anyio.move_on_after(1) as waited:
                await anext(events)
            assert waited.cancelled_caught
            assert len(node.cursor("orders", 0, "g").leases) == 4
            await held[0].ack()
            assert (await anext(events)).position == 4


@both_backends
async def test_batches_hold_what_is_there_up_to_a_limit() -> None:
    async with node_and_client(partitions=2) as (_, db):
        await publish(db, 10)
        async with db.consume("orders", group="g") as events:
            await anyio.wait_all_tasks_blocked()
            sizes, payloads = [], set()
            async for batch in events.batches(max_events=4):
                sizes.append(len(batch))
                payloads |= {ev.payload for ev in batch}
                await batch.ack()
                if sum(sizes) == 10:
                    break
            assert sizes == [4, 4, 2]
            assert payloads == {b"%d" % i for i in range(10)}


@both_backends
async def test_a_batch_is_a_sequence_of_deliveries() -> None:
    async with node_and_client(partitions=2) as (_, db):
        await publish(db, 9)
        async with db.consume("orders", group="g") as events:
            await anyio.wait_all_tasks_blocked()
            batch = await anext(events.batches())
            listed = [(ev.partition, ev.position) for ev in batch]
            assert [(ev.partition, ev.position) for ev in map(batch.__getitem__, range(9))] == (
                listed
            )
            assert (batch[-1].partition, batch[-1].position) == listed[-1]
            assert [(ev.partition, ev.position) for ev in batch[2:7:2]] == listed[2:7:2]
            assert repr(batch) == "<DeliveryBatch of 9>"
            with pytest.raises(IndexError):
                batch[9]


@both_backends
async def test_several_tasks_share_a_subscription() -> None:
    async with node_and_client() as (_, db):
        await publish(db, 20)
        seen: list[int] = []
        async with db.consume("orders", group="g", credits=5) as events:

            async def work() -> None:
                async for ev in events:
                    seen.append(ev.position)
                    await ev.ack()
                    if len(seen) == 20:
                        tasks.cancel_scope.cancel()

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(work)
        assert sorted(seen) == list(range(20))


@both_backends
async def test_leaving_gives_back_at_once_what_was_not_handed_out() -> None:
    async with node_and_client() as (node, db):
        await publish(db, 10)
        async with db.consume("orders", group="g") as events:
            await (await anext(events)).ack()
        assert isinstance(node.received[-1], m.Unsubscribe)
        assert not node.cursor("orders", 0, "g").leases
        async with db.consume("orders", group="g") as events:
            assert (await anext(events)).position == 1


@both_backends
async def test_leaving_ends_the_iteration_of_other_tasks() -> None:
    async with node_and_client() as (_, db), anyio.create_task_group() as tasks:

        async def iterate(events: Any) -> None:
            assert [ev async for ev in events] == []

        async with db.consume("orders", group="g") as events:
            tasks.start_soon(iterate, events)
            await anyio.wait_all_tasks_blocked()


@both_backends
async def test_leaving_does_not_wait_long_for_a_node_that_hangs() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Unsubscribe, stays_silent)
        async with db.consume("orders", group="g"):
            started_s = anyio.current_time()
        assert anyio.current_time() - started_s == pytest.approx(2)


@both_backends
async def test_an_error_of_the_block_passes_and_the_subscription_is_left() -> None:
    async with node_and_client() as (node, db):
        with pytest.raises(ValueError, match="mine"):
            async with db.consume("orders", group="g"):
                raise ValueError("mine")
        assert node.got(m.Unsubscribe)


@both_backends
async def test_the_terms_of_a_subscription_arrive() -> None:
    async with node_and_client() as (node, db):
        start = dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC)
        async with (
            db.consume("orders", group="g", credits=7, mode="shared", start=start),
            db.consume("orders", group="h", start="latest"),
        ):
            first, second = node.got(m.Subscribe)
        assert (first.group, first.mode, first.start, first.credits) == ("g", "shared", 1000, 7)
        assert (second.group, second.mode, second.start, second.credits) == (
            *("h", "ordered", "latest", 256),
        )
        assert first.subscription != second.subscription


@both_backends
async def test_an_unknown_topic_cannot_be_consumed() -> None:
    async with node_and_client() as (_, db):
        with pytest.raises(NotFound, match="no topic none"):
            async with db.consume("none", group="g"):
                raise AssertionError("not reached")


@pytest.mark.parametrize(
    "arguments",
    [
        {"topic": "a b"},
        {"group": ""},
        {"credits": 0},
        {"credits": 1_000_001},
        {"mode": "both"},
        {"start": "now"},
    ],
)
@both_backends
async def test_bad_terms_are_refused_before_anything_is_sent(arguments: dict[str, Any]) -> None:
    async with node_and_client() as (node, db):
        with pytest.raises(InvalidArgument):
            async with db.consume(**{"topic": "orders", "group": "g", **arguments}):
                raise AssertionError("not reached")
        assert not node.got(m.Subscribe)


@pytest.mark.parametrize("limit", [0, -1, None, 1.5])
@both_backends
async def test_a_batch_holds_at_least_one_event(limit: Any) -> None:
    async with node_and_client() as (_, db), db.consume("orders", group="g") as events:
        with pytest.raises(InvalidArgument, match="max_events"):
            await anext(events.batches(max_events=limit))


@both_backends
async def test_a_busy_node_is_asked_again_until_it_takes_the_subscription() -> None:
    async with node_and_client() as (node, db):
        await publish(db, 1)
        node.script(m.Subscribe, *[fails_with(Overloaded("starting"))] * 3)
        async with db.consume("orders", group="g") as events:
            assert (await anext(events)).position == 0


@both_backends
async def test_a_node_that_stays_busy_is_reported_at_the_deadline() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Subscribe, *[fails_with(Overloaded("starting"))] * 100)
        with pytest.raises(Overloaded, match="starting"):
            async with db.consume("orders", group="g"):
                raise AssertionError("not reached")


@pytest.mark.parametrize("column", ["positions", "offsets", "published", "attempts", "batch"])
@both_backends
async def test_a_delivery_whose_columns_disagree_ends_the_connection(column: str) -> None:
    async with running_node() as node, client_of(node) as db:
        await db.create_topic("orders")

        def send_broken(peer: Peer, message: m.Message) -> None:
            assert isinstance(message, m.Ping)
            peer.say(one_delivery(), one_delivery(**{column: b"\0" * 5}))

        node.script(m.Ping, send_broken)
        async with db.consume("orders", group="g"):
            with pytest.raises(ProtocolError):
                await db.ping()


@both_backends
async def test_a_node_that_sends_more_than_the_credits_breaks_the_protocol() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Ping, lambda peer, _: peer.say(*[one_delivery()] * 3))
        async with db.consume("orders", group="g", credits=2):
            with pytest.raises(ProtocolError, match="sent 1 events; it had 0 credits"):
                await db.ping()


@both_backends
async def test_deliveries_that_arrive_after_leaving_are_dropped() -> None:
    async with node_and_client() as (node, db):
        async with db.consume("orders", group="g"):
            pass

        def deliver_late(peer: Peer, message: m.Message) -> None:
            assert isinstance(message, m.Ping)
            peer.say(one_delivery(), m.Pong(message.request, 0))

        node.script(m.Ping, deliver_late)
        await db.ping()
        assert len(node.got(m.Hello)) == 1, "the connection is still the first one"

from __future__ import annotations

import datetime as dt
from array import array
from typing import Any

import pytest

from chronosdb.client import (
    Conflict,
    ConnectionLost,
    Event,
    InvalidArgument,
    NotFound,
    Overloaded,
    ProtocolError,
    PublishResult,
    Timeout,
)
from chronosdb.client.columns import FRAME_BYTES, FRAME_EVENTS
from chronosdb.wire import EventBatch, partition_for
from chronosdb.wire import messages as m
from chronosdb.wire.batch import NOW, RELATIVE
from tests.client.fake_node import (
    WALL_MS,
    FakeNode,
    Peer,
    cuts,
    fails_with,
    node_and_client,
    stays_silent,
)
from tests.client.virtual_time import both_backends


def sent(node: FakeNode, i: int = -1) -> EventBatch:
    """The batch of one of the publishes that arrived."""
    return EventBatch(node.got(m.Publish)[i].batch)


@both_backends
async def test_publish_says_where_the_event_is_and_whether_it_was_there() -> None:
    async with node_and_client() as (_, db):
        first = await db.publish("orders", b"hi", message_id="a", at=WALL_MS)
        again = await db.publish("orders", b"hi", message_id="a", at=WALL_MS)
        assert first == PublishResult("a", 0, 0, duplicate=False)
        assert again == PublishResult("a", 0, 0, duplicate=True)


@both_backends
async def test_an_id_with_other_content_is_a_conflict() -> None:
    async with node_and_client() as (_, db):
        await db.publish("orders", b"hi", message_id="a")
        with pytest.raises(Conflict, match="taken"):
            await db.publish("orders", b"ho", message_id="a")


@both_backends
async def test_every_field_of_a_publish_arrives() -> None:
    async with node_and_client() as (node, db):
        at = dt.datetime.fromtimestamp(WALL_MS / 1000, dt.UTC)
        await db.publish("orders", b"p", message_id="é", key=b"k", meta={"n": 1}, at=at)
        batch = sent(node)
        assert (batch.message_id(0), batch.payload(0), batch.key(0)) == ("é".encode(), b"p", b"k")
        assert (batch.meta(0), batch.due[0], batch.flags[0]) == (b"\x81\xa1n\x01", WALL_MS, 0)


@both_backends
async def test_a_due_time_from_the_moment_of_the_call_is_marked_as_such() -> None:
    """So that a repeat at another moment is the same event and no conflict."""
    async with node_and_client() as (node, db):
        await db.publish("orders", b"", message_id="a", after=1.5)
        assert (sent(node).due[0], sent(node).flags[0]) == (WALL_MS + 1500, RELATIVE)
        node.now_ms += 60_000
        assert (await db.publish("orders", b"", message_id="a", after=1.5)).duplicate
        await db.publish("orders", b"")
        assert (sent(node).due[0], sent(node).flags[0]) == (NOW, RELATIVE)


@pytest.mark.parametrize(
    ("times", "expires_ts"),
    [
        ({"at": 5, "expires_at": 6}, 6),
        ({"expires_at": dt.datetime(2030, 1, 1, tzinfo=dt.UTC)}, 1_893_456_000_000),
        ({"at": 5, "expires_after": 1.5}, 1505),
        ({"after": 1, "expires_after": 1.5}, WALL_MS + 2500),
        ({"expires_after": 0.0001}, WALL_MS + 1),
        ({}, None),
    ],
)
@both_backends
async def test_an_expiry_is_a_time_or_counts_from_the_due_time(
    times: dict[str, Any], expires_ts: int | None
) -> None:
    async with node_and_client() as (node, db):
        await db.publish("orders", b"p", key=b"k", meta={"n": 1}, **times)
        async with db.publisher("orders") as buffered:
            await buffered.send(b"p", key=b"k", meta={"n": 1}, **times)
        for batch in (sent(node, -2), sent(node)):
            assert (batch.expires(0), batch.key(0), batch.payload(0)) == (expires_ts, b"k", b"p")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"at": 1, "after": 1}, TypeError),
        ({"expires_at": 1, "expires_after": 1}, TypeError),
        ({"at": 5, "expires_at": 5}, InvalidArgument),
        ({"at": 5, "expires_after": 0}, InvalidArgument),
        ({"at": dt.datetime(2030, 1, 1)}, TypeError),  # noqa: DTZ001 - the mistake under test
        ({"after": -1}, InvalidArgument),
        ({"message_id": ""}, InvalidArgument),
        ({"message_id": "x" * 129}, InvalidArgument),
        ({"key": b""}, InvalidArgument),
        ({"meta": {"a": []}}, InvalidArgument),
        ({"payload": "text"}, InvalidArgument),
        ({"payload": bytes(4 * 2**20 + 1)}, InvalidArgument),
        ({"topic": "a/b"}, InvalidArgument),
        ({"acks": "most"}, InvalidArgument),
        ({"acks": 1}, InvalidArgument),
    ],
)
@both_backends
async def test_bad_arguments_are_refused_before_anything_is_sent(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    async with node_and_client() as (node, db):
        with pytest.raises(error):
            await db.publish(**{"topic": "orders", "payload": b"", **arguments})
        assert not node.got(m.Publish)


@pytest.mark.parametrize(
    ("acks", "number"), [(None, None), ("leader", 0), ("quorum", 1), ("all", 2)]
)
@both_backends
async def test_a_publish_says_whose_disks_its_events_are_to_be_on(
    acks: str | None, number: int | None
) -> None:
    async with node_and_client() as (node, db):
        await db.publish("orders", b"", acks=acks)
        await db.publish_many("orders", [Event(payload=b"")], acks=acks)
        async with db.publisher("orders", acks=acks) as publisher:
            await publisher.send(b"")
        assert [message.acks for message in node.got(m.Publish)] == [number] * 3


@both_backends
async def test_many_events_get_their_results_in_their_order() -> None:
    """Over several partitions, with and without keys, ids and duplicates."""
    async with node_and_client(partitions=3) as (_, db):
        events = [Event(payload=b"x", message_id=f"id-{i % 40}") for i in range(50)]
        results = await db.publish_many("orders", events)
        assert [r.message_id for r in results] == [e.message_id for e in events]
        assert [r.partition for r in results] == [
            partition_for(None, r.message_id.encode(), 3) for r in results
        ]
        assert [r.duplicate for r in results] == [i >= 40 for i in range(50)]
        assert [r.offset for r in results[40:]] == [r.offset for r in results[:10]]


@both_backends
async def test_publishing_nothing_asks_nothing() -> None:
    async with node_and_client() as (node, db):
        assert await db.publish_many("orders", iter(())) == []
        assert not node.got(m.Publish)


@both_backends
async def test_large_lots_travel_in_bounded_frames_that_do_not_wait_for_each_other() -> None:
    async with node_and_client() as (node, db):
        first: list[m.Message] = []

        def hold(_: Peer, message: m.Message) -> None:
            first.append(message)

        def release(peer: Peer, message: m.Message) -> None:
            for offset, request in enumerate([*first, message]):
                assert isinstance(request, m.Publish)
                peer.say(m.Published(request.request, offset * FRAME_EVENTS))

        node.script(m.Publish, hold, release)
        count = FRAME_EVENTS + 1
        results = await db.publish_many("orders", [Event(payload=b"")] * count)
        assert [r.offset for r in results] == list(range(count))


@both_backends
async def test_what_is_in_flight_is_bounded() -> None:
    """Ten frames of 1 MiB: the ninth waits until the first is answered."""
    async with node_and_client() as (node, db):
        waiting: list[m.Publish] = []
        most = 0

        def answer_the_oldest(peer: Peer, message: m.Message) -> None:
            nonlocal most
            assert isinstance(message, m.Publish)
            waiting.append(message)
            most = max(most, len(waiting))
            if len(waiting) == 7 or len(node.got(m.Publish)) > 7:
                peer.say(m.Published(waiting.pop(0).request, 0))
            if len(node.got(m.Publish)) == 12:
                for left in waiting:
                    peer.say(m.Published(left.request, 0))

        node.script(m.Publish, *[answer_the_oldest] * 12)
        await db.publish_many("orders", [Event(payload=bytes(FRAME_BYTES))] * 12)
        assert most == 7


@both_backends
async def test_overload_is_waited_out() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Publish, *[fails_with(Overloaded("full"))] * 5)
        result = await db.publish("orders", b"")
        assert (result.offset, len(node.got(m.Publish))) == (0, 6)


@both_backends
async def test_overload_beyond_the_deadline_is_raised() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Publish, *[fails_with(Overloaded("full"))] * 100)
        with pytest.raises(Overloaded, match="full"):
            await db.publish("orders", b"")


@both_backends
async def test_an_error_that_will_not_go_away_is_raised_at_once() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Publish, fails_with(InvalidArgument("no")))
        with pytest.raises(InvalidArgument, match="no"):
            await db.publish("orders", b"")
        assert len(node.got(m.Publish)) == 1


@both_backends
async def test_a_publish_that_was_cut_off_is_repeated_with_the_same_id() -> None:
    """Also when the node had stored it: the answer is then a duplicate."""
    async with node_and_client() as (node, db):

        def store_and_cut(peer: Peer, message: m.Message) -> None:
            assert isinstance(message, m.Publish)
            node._publish(message)
            peer.cut()

        node.script(m.Publish, store_and_cut)
        result = await db.publish("orders", b"x")
        assert (result.offset, result.duplicate) == (0, True)
        assert sent(node, 0).ids() == sent(node, 1).ids()


@both_backends
async def test_without_an_answer_the_deadline_ends_a_publish() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Publish, stays_silent)
        with pytest.raises(Timeout, match="no answer within 10 s"):
            await db.publish("orders", b"")


@both_backends
async def test_when_the_node_stays_away_the_deadline_says_so() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Publish, cuts)
        node.down = True
        with pytest.raises(ConnectionLost, match="nobody listens at node:9000"):
            await db.publish("orders", b"")


@both_backends
async def test_one_failed_frame_fails_the_call_with_its_error() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Publish, fails_with(Conflict("taken")))
        with pytest.raises(Conflict, match="taken"):
            await db.publish_many("orders", [Event(payload=b"")] * (2 * FRAME_EVENTS))


@both_backends
async def test_the_partitions_of_a_topic_are_asked_once_and_again_when_it_is_gone() -> None:
    async with node_and_client() as (node, db):
        await db.publish("orders", b"")
        assert not node.got(m.DescribeTopic)  # known from create_topic
        node.topics.clear()
        for _ in range(2):
            with pytest.raises(NotFound, match="no topic orders"):
                await db.publish("orders", b"")
        assert len(node.got(m.DescribeTopic)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        m.Published(1, 0, offsets=array("q", [1, 2]).tobytes(), duplicates=b"\0\0"),
        m.Published(1, 0, offsets=array("q", [1]).tobytes()),
        m.Published(1, 0, duplicates=b"\1"),
    ],
)
@both_backends
async def test_an_answer_with_columns_of_the_wrong_length_is_refused(answer: m.Published) -> None:
    async with node_and_client() as (node, db):

        def say(peer: Peer, message: m.Message) -> None:
            assert isinstance(message, m.Publish)
            wrong = m.Published(
                message.request, 0, offsets=answer.offsets, duplicates=answer.duplicates
            )
            peer.say(wrong)

        node.script(m.Publish, say)
        with pytest.raises(ProtocolError, match="1 events does not have 1 entries"):
            await db.publish("orders", b"")

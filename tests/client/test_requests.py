from __future__ import annotations

from unittest.mock import patch

import anyio
import pytest

from chronosdb.client import (
    Conflict,
    InvalidArgument,
    NotFound,
    Overloaded,
    ProtocolError,
    StoredEvent,
)
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError
from tests.client.fake_node import (
    WALL_MS,
    Peer,
    client_of,
    node_and_client,
    running_node,
    stays_silent,
)
from tests.client.virtual_time import both_backends


@both_backends
async def test_topics_are_created_listed_and_shown() -> None:
    async with running_node() as node, client_of(node) as db:
        created = await db.create_topic("b", partitions=2, retention_ms=5)
        assert (created.name, created.partitions, created.settings) == ("b", 2, {"retention_ms": 5})
        safe = await db.create_topic("c", replication=3, min_insync=2, acks="quorum")
        assert safe.settings == {"replication": 3, "min_insync": 2, "acks": 1}
        await db.create_topic("a")
        assert [topic.name for topic in await db.topics()] == ["a", "b", "c"]
        assert await db.topic("b") == created


@both_backends
async def test_creating_a_topic_again_is_fine_unless_it_differs() -> None:
    async with node_and_client() as (_, db):
        await db.create_topic("orders")
        with pytest.raises(Conflict):
            await db.create_topic("orders", partitions=2)


@both_backends
async def test_an_unknown_topic_is_not_found() -> None:
    async with node_and_client() as (_, db):
        for attempt in (db.topic("none"), db.publish("none", b""), db.get("none", "id")):
            with pytest.raises(NotFound, match="no topic none"):
                await attempt


@both_backends
async def test_bad_topic_arguments_are_refused_before_anything_is_sent() -> None:
    async with running_node() as node, client_of(node) as db:
        for attempt in (
            db.create_topic("a b"),
            db.create_topic("a", partitions=0),
            db.create_topic("a", replication=0),
            db.create_topic("a", min_insync=8),
            db.create_topic("a", acks="most"),
            db.create_topic("a", retention_ms="5"),  # type: ignore[arg-type]
            db.topic(""),
        ):
            with pytest.raises(InvalidArgument):
                await attempt
        assert node.received == node.got(m.Hello)


@both_backends
async def test_ping_measures_the_way_to_the_node_and_back() -> None:
    async with node_and_client() as (_, db):
        assert await db.ping() == pytest.approx(0, abs=1)


@both_backends
async def test_get_shows_an_event_and_where_it_stands() -> None:
    async with node_and_client() as (node, db):
        await db.publish("orders", b"p", message_id="a", meta={"k": "v"}, at=WALL_MS + 5)
        pending = await db.get("orders", "a")
        assert pending == StoredEvent(
            state="pending",
            message_id="a",
            payload=b"p",
            meta={"k": "v"},
            key=None,
            schedule_ts=WALL_MS + 5,
            published_ts=WALL_MS,
            partition=0,
            offset=0,
        )
        node.advance(5)
        fired = await db.get("orders", "a")
        assert fired is not None
        assert fired.state == "fired"


@both_backends
async def test_get_of_an_unknown_id_is_none() -> None:
    async with node_and_client(partitions=3) as (node, db):
        assert await db.get("orders", "none") is None
        assert sorted(ask.partition for ask in node.got(m.Get)) == [0, 1, 2]


@both_backends
async def test_get_asks_one_partition_where_that_is_enough() -> None:
    """The id's own for an event without a key, the key's when it is given."""
    async with node_and_client(partitions=8) as (node, db):
        await db.publish("orders", b"", message_id="plain")
        await db.publish("orders", b"", message_id="keyed", key=b"k")
        assert await db.get("orders", "plain") is not None
        assert await db.get("orders", "keyed", key=b"k") is not None
        assert len(node.got(m.Get)) == 2


@both_backends
async def test_get_finds_an_event_whose_key_is_not_given() -> None:
    async with node_and_client(partitions=8) as (_, db):
        await db.publish("orders", b"", message_id="keyed", key=b"k")
        found = await db.get("orders", "keyed")
        assert found is not None
        assert found.key == b"k"


@both_backends
async def test_get_does_not_look_beyond_the_partition_of_the_key() -> None:
    async with node_and_client(partitions=8) as (node, db):
        assert await db.get("orders", "id", key=b"k") is None
        assert len(node.got(m.Get)) == 1


@both_backends
async def test_many_requests_are_in_flight_at_once_and_answered_in_any_order() -> None:
    async with node_and_client() as (node, db):
        asked: list[m.Message] = []

        def answer_backwards(peer: Peer, message: m.Message) -> None:
            asked.append(message)
            if len(asked) == 3:
                for ask in reversed(asked):
                    assert isinstance(ask, m.DescribeTopic)
                    info = m.TopicInfo(ask.name, 1, {}, [""], 0)
                    peer.say(m.TopicReply(ask.request, info))

        node.script(m.DescribeTopic, *[answer_backwards] * 3)
        names: list[str] = []

        async def ask(name: str) -> None:
            names.append((await db.topic(name)).name)
            assert names[-1] == name

        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(ask, name)
        assert sorted(names) == ["a", "b", "c"]


@both_backends
async def test_an_answer_of_the_wrong_type_is_a_protocol_error() -> None:
    async with node_and_client() as (node, db):

        def confuse(peer: Peer, message: m.Message) -> None:
            assert isinstance(message, m.Ping)
            peer.say(m.Done(message.request))

        node.script(m.Ping, confuse)
        with pytest.raises(ProtocolError, match="answered Done where Pong belongs"):
            await db.ping()


@both_backends
async def test_an_answer_nobody_waits_for_ends_the_connection() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Ping, lambda peer, _: peer.say(m.Done(77)))
        with pytest.raises(ProtocolError, match="request 77"):
            await db.ping()
        await db.ping()
        assert len(node.got(m.Hello)) == 2


@both_backends
async def test_an_error_code_of_a_later_release_is_still_an_error() -> None:
    async with node_and_client() as (node, db):

        def refuse(peer: Peer, message: m.Message) -> None:
            assert isinstance(message, m.Ping)
            details = {"since": 2031}
            peer.say(m.Failed(message.request, "brand_new", "never seen", False, details))

        node.script(m.Ping, refuse)
        with pytest.raises(ChronosError, match="never seen") as caught:
            await db.ping()
        assert caught.value.details == {"since": 2031}


@both_backends
async def test_a_request_larger_than_the_node_takes_is_refused_here() -> None:
    async with running_node() as node:
        welcome = m.Welcome(1, "cluster", "node", 0, 128 * 1024)
        node.script(m.Hello, lambda peer, _: peer.say(welcome))
        async with client_of(node) as db:
            await db.create_topic("orders")
            with pytest.raises(InvalidArgument, match="takes at most 131072"):
                await db.publish("orders", bytes(128 * 1024))
            await db.publish("orders", bytes(100 * 1024))


@both_backends
async def test_requests_in_flight_are_bounded() -> None:
    """One too many is overload: it waits its turn, and a node that hangs gets no more."""
    async with node_and_client() as (node, db):
        node.script(m.Ping, *[stays_silent] * 20)
        with patch("chronosdb.client.connection.MAX_IN_FLIGHT", 20):
            connection = await db._cluster.node("")
            for _ in range(20):
                connection.ask(m.Ping)
            with pytest.raises(Overloaded, match="20 requests wait for an answer"):
                await db.ping()
        assert len(node.got(m.Ping)) == 20

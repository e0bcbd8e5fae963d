"""Single publishes that meet: one frame, and to each its own result."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from chronosdb.client import Client, Conflict, ConnectionLost, Overloaded, PublishResult
from chronosdb.client.outcomes import Outcome
from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError
from tests.client.fake_node import FakeNode, Peer, node_and_client, stays_silent
from tests.client.virtual_time import both_backends


async def publish_at_once(db: Client, *ids: str, topic: str = "orders") -> dict[str, Outcome]:
    """What became of each, when one task per id publishes it."""
    outcomes: dict[str, Outcome] = {}

    async def one(message_id: str) -> None:
        try:
            outcomes[message_id] = await db.publish(topic, b"x", message_id=message_id)
        except ChronosError as error:
            outcomes[message_id] = error

    async with anyio.create_task_group() as tasks:
        for message_id in ids:
            tasks.start_soon(one, message_id)
    return outcomes


def frames(node: FakeNode) -> list[set[bytes]]:
    """The ids in each Publish that arrived."""
    return [set(EventBatch(message.batch).ids()) for message in node.got(m.Publish)]


@both_backends
async def test_publishes_of_one_turn_travel_in_one_frame() -> None:
    async with node_and_client() as (node, db):
        await publish_at_once(db, "warm")
        outcomes = await publish_at_once(db, "a", "b", "c")
        assert frames(node) == [{b"warm"}, {b"a", b"b", b"c"}]
        offsets = set()
        for message_id, outcome in outcomes.items():
            assert isinstance(outcome, PublishResult)
            assert (outcome.message_id, outcome.duplicate) == (message_id, False)
            offsets.add(outcome.offset)
        assert offsets == {1, 2, 3}


@both_backends
async def test_what_is_published_while_a_frame_is_on_its_way_travels_in_the_next() -> None:
    """However many turns it comes in; a frame costs about as much as twenty events."""
    async with node_and_client() as (node, db):
        first: list[tuple[Peer, m.Publish]] = []

        def answered_later(peer: Peer, message: m.Message) -> None:
            assert isinstance(message, m.Publish)
            first.append((peer, message))

        await db.topics()
        node.script(m.Publish, answered_later)
        async with anyio.create_task_group() as tasks:
            for message_id in ("a", "b", "c"):
                tasks.start_soon(partial(db.publish, "orders", b"x", message_id=message_id))
                await anyio.sleep(0.001)
            [(peer, message)] = first
            assert frames(node) == [{b"a"}]
            peer.say(m.Published(message.request, 0))
        assert frames(node) == [{b"a"}, {b"b", b"c"}]


@both_backends
async def test_nobody_waits_long_for_a_frame_of_others() -> None:
    """The leader that it went to may have died."""
    async with node_and_client() as (node, db):
        await db.topics()
        node.script(m.Publish, stays_silent)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(db.publish, "orders", b"x", message_id="stuck"))
            await anyio.sleep(0.001)
            with anyio.fail_after(0.1):
                assert (await db.publish("orders", b"x", message_id="free")).message_id == "free"
            tasks.cancel_scope.cancel()
        assert frames(node) == [{b"stuck"}, {b"free"}]


@both_backends
async def test_what_is_refused_spoils_none_of_the_others() -> None:
    async with node_and_client() as (node, db):
        await db.publish("orders", b"taken", message_id="b")
        outcomes = await publish_at_once(db, "a", "b", "c", "d")
        assert isinstance(outcomes.pop("b"), Conflict)
        assert all(isinstance(outcome, PublishResult) for outcome in outcomes.values())
        assert {b"a", b"b", b"c", b"d"} in frames(node)


@both_backends
async def test_partitions_and_acks_are_apart() -> None:
    """One that fails says nothing about the others."""
    async with node_and_client() as (node, db):
        await db.create_topic("wide", 4)
        await publish_at_once(db, *(f"e{i}" for i in range(40)), topic="wide")
        assert sorted(message.partition for message in node.got(m.Publish)) == [0, 1, 2, 3]
        async with anyio.create_task_group() as tasks:
            for acks in ("leader", "leader", "all"):
                tasks.start_soon(partial(db.publish, "orders", b"x", acks=acks))
        assert sorted(message.acks or 0 for message in node.got(m.Publish)[4:]) == [0, 2]


@both_backends
async def test_a_caller_that_gives_up_takes_nobody_along() -> None:
    async with node_and_client() as (_, db):
        outcomes: dict[str, Outcome] = {}

        async def patient() -> None:
            outcomes.update(await publish_at_once(db, "a", "b"))

        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as hasty:
                tasks.start_soon(patient)
                hasty.cancel()
                await db.publish("orders", b"x", message_id="first")
        assert hasty.cancelled_caught
        assert all(isinstance(outcome, PublishResult) for outcome in outcomes.values())


@both_backends
async def test_an_error_that_all_meet_is_an_exception_of_each() -> None:
    """Two tasks that raise one exception would write their tracebacks into each other's."""

    def overloaded(peer: Peer, message: m.Message) -> None:
        assert isinstance(message, m.Publish)
        peer.say(m.Failed(message.request, Overloaded.code, "later", False, {}))

    async with node_and_client() as (node, db):
        node.script(m.Publish, overloaded, overloaded, overloaded)
        errors = list((await publish_at_once(db, "a", "b")).values())
        assert [type(error) for error in errors] == [Overloaded, Overloaded]
        assert errors[0] is not errors[1]


@both_backends
async def test_nobody_waits_for_a_client_that_was_closed() -> None:
    outcomes: dict[str, Outcome] = {}

    async def waiting(db: Client) -> None:
        outcomes.update(await publish_at_once(db, "a", "b"))

    async with anyio.create_task_group() as tasks, node_and_client() as (node, db):
        await db.topics()
        node.script(m.Publish, stays_silent)
        tasks.start_soon(waiting, db)
        await anyio.sleep(0.1)
    assert [type(outcome) for outcome in outcomes.values()] == [ConnectionLost, ConnectionLost]


@both_backends
async def test_a_closed_client_takes_nothing_in() -> None:
    async with node_and_client() as (_, db):
        await db.publish("orders", b"x")
    with pytest.raises(ConnectionLost, match="closed"):
        await db.publish("orders", b"x")

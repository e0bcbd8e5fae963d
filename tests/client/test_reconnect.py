from __future__ import annotations

import anyio
import pytest

from chronosdb.client import AuthError, ConnectionLost, Event, LeaseLost, NotFound
from chronosdb.client import connect as connect_function
from chronosdb.client.connection import DEAD_S, QUIET_S
from chronosdb.wire import messages as m
from tests.client.fake_node import (
    FakeNode,
    Peer,
    client_of,
    cuts,
    fails_with,
    node_and_client,
    one_delivery,
    running_node,
    stays_silent,
)
from tests.client.virtual_time import both_backends


def settled(node: FakeNode) -> set[int]:
    return node.cursor("orders", 0, "g").settled


@both_backends
async def test_requests_survive_a_lost_connection() -> None:
    async with node_and_client() as (node, db):
        for kind, request in (
            (m.Ping, db.ping),
            (m.ListTopics, db.topics),
            (m.Get, lambda: db.get("orders", "x")),
            (m.Publish, lambda: db.publish("orders", b"")),
        ):
            node.script(kind, cuts)
            await request()
        assert len(node.got(m.Hello)) == 5


@both_backends
async def test_a_node_that_is_away_for_a_while_is_waited_for() -> None:
    async with node_and_client() as (node, db), anyio.create_task_group() as tasks:
        node.down = True
        node.cut_all()
        tasks.start_soon(db.publish, "orders", b"")
        await anyio.sleep(8)
        assert not node.got(m.Publish)
        node.down = False
        await anyio.sleep(2)
        assert node.got(m.Publish)


@both_backends
async def test_attempts_to_reconnect_are_spaced_out() -> None:
    async with node_and_client() as (node, _):
        node.down = True
        node.cut_all()
        await anyio.sleep(60)
        assert 25 <= len(node.dialled) <= 40


@both_backends
async def test_a_node_that_drops_every_connection_is_not_hammered() -> None:
    async with node_and_client() as (node, _):

        def greet_and_cut(peer: Peer, message: m.Message) -> None:
            node._answer(peer, message)
            peer.cut()

        node.script(m.Hello, *[greet_and_cut] * 1000)
        node.cut_all()
        await anyio.sleep(60)
        assert 25 <= len(node.dialled) <= 40


@both_backends
async def test_another_node_takes_over_when_the_first_is_gone() -> None:
    async with running_node() as one, running_node() as two:

        async def dial(host: str, port: int) -> anyio.abc.ByteStream:
            return await (one if host == "n1" else two).dial(host, port)

        async with connect_function("n1,n2", stream_factory=dial) as db:
            await db.create_topic("on-one")
            one.down = True
            one.cut_all()
            assert await db.topics() == []
            assert two.got(m.ListTopics)


@both_backends
async def test_a_node_that_refuses_for_good_ends_the_client() -> None:
    async with node_and_client() as (node, db):
        async with db.consume("orders", group="g") as events:
            node.script(m.Hello, *[fails_with(AuthError("token revoked"))] * 9)
            node.cut_all()
            for attempt in (anext(events), db.ping(), db.ping()):
                with pytest.raises(AuthError, match="token revoked"):
                    await attempt
        assert len(node.dialled) == 2


@both_backends
async def test_a_subscription_goes_on_after_a_cut() -> None:
    async with node_and_client() as (node, db):
        await db.publish_many("orders", [Event(payload=b"")] * 4)
        async with db.consume("orders", group="g") as events:
            await (await anext(events)).ack()
            node.cut_all()
            again = [await anext(events) for _ in range(3)]
            assert [ev.position for ev in again] == [1, 2, 3]
            for ev in again:
                await ev.ack()
        assert settled(node) == {0, 1, 2, 3}


@both_backends
async def test_what_was_buffered_before_a_cut_comes_once() -> None:
    """The node delivers it again, so the first copy is dropped."""
    async with node_and_client() as (node, db):
        await db.publish_many("orders", [Event(payload=b"")] * 4)
        async with db.consume("orders", group="g") as events:
            await anyio.wait_all_tasks_blocked()
            node.cut_all()
            await anyio.wait_all_tasks_blocked()
            seen = [await anext(events) for _ in range(4)]
            assert [(ev.position, ev.attempt) for ev in seen] == [(i, 2) for i in range(4)]


@both_backends
async def test_an_ack_of_before_the_cut_counts() -> None:
    async with node_and_client() as (node, db):
        await db.publish("orders", b"")
        async with db.consume("orders", group="g") as events:
            ev = await anext(events)
            node.cut_all()
            await ev.ack()
            assert settled(node) == {0}


@both_backends
async def test_an_ack_that_is_cut_off_is_repeated() -> None:
    async with node_and_client() as (node, db):
        await db.publish("orders", b"")
        async with db.consume("orders", group="g") as events:
            ev = await anext(events)
            node.script(m.Ack, cuts)
            await ev.ack()
            assert settled(node) == {0}


@both_backends
async def test_a_lease_of_before_the_cut_is_lost() -> None:
    async with node_and_client() as (node, db):
        await db.publish("orders", b"")
        async with db.consume("orders", group="g") as events:
            ev = await anext(events)
            node.cut_all()
            await db.ping()
            for attempt in (ev.extend(5), ev.nack()):
                with pytest.raises(LeaseLost, match="ended with its connection"):
                    await attempt
            assert not node.got(m.Nack)


@both_backends
async def test_a_nack_that_is_cut_off_is_a_lost_lease() -> None:
    async with node_and_client() as (node, db):
        await db.publish("orders", b"")
        async with db.consume("orders", group="g") as events:
            ev = await anext(events)
            node.script(m.Nack, cuts)
            with pytest.raises(LeaseLost):
                await ev.nack()


@both_backends
async def test_events_in_hand_count_against_the_credits_after_a_cut() -> None:
    async with node_and_client() as (node, db):
        await db.publish_many("orders", [Event(payload=b"")] * 9)
        async with db.consume("orders", group="g", credits=5) as events:
            held = [await anext(events) for _ in range(3)]
            node.cut_all()
            await db.ping()
            await anyio.sleep(1)
            assert [subscribe.credits for subscribe in node.got(m.Subscribe)] == [5, 2]
            for ev in held:
                await ev.ack()
            await anyio.wait_all_tasks_blocked()
            assert sum(credit.credits for credit in node.got(m.Credit)) <= 3


@both_backends
async def test_a_topic_that_is_gone_after_a_cut_ends_the_iteration() -> None:
    async with node_and_client() as (node, db), db.consume("orders", group="g") as events:
        node.topics.clear()
        node.cut_all()
        for _ in range(2):
            with pytest.raises(NotFound, match="no topic orders"):
                await anext(events)


@both_backends
async def test_closing_by_the_node_leads_to_a_new_connection() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Ping, lambda peer, _: peer.say(m.Closing("restart")))
        await db.ping()
        assert len(node.got(m.Hello)) == 2


@both_backends
async def test_garbage_ends_the_connection_and_not_the_client() -> None:
    async with node_and_client() as (node, db):
        node.peers[0].say_bytes(b"\xff" * 100)
        await anyio.wait_all_tasks_blocked()
        await db.ping()
        assert len(node.got(m.Hello)) == 2


@both_backends
async def test_an_idle_connection_is_kept_alive() -> None:
    async with node_and_client() as (node, _):
        await anyio.sleep(5 * QUIET_S + 1)
        assert len(node.got(m.Ping)) == 5
        assert len(node.got(m.Hello)) == 1


@both_backends
async def test_a_busy_connection_is_not_pinged() -> None:
    async with node_and_client() as (node, db):
        for _ in range(30):
            await anyio.sleep(1)
            await db.topics()
        assert not node.got(m.Ping)


@both_backends
async def test_a_client_that_only_listens_still_shows_that_it_lives() -> None:
    """A node that hears nothing would take it for dead."""
    async with node_and_client() as (node, db), db.consume("orders", group="g"):
        heard = len(node.received)
        for _ in range(25):
            await anyio.sleep(1)
            node.peers[0].say(one_delivery())
        assert [type(message) for message in node.received[heard:]] == [m.Ping, m.Ping]


@both_backends
async def test_a_silent_node_is_given_up_and_replaced() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Ping, *[stays_silent] * 2)
        await anyio.sleep(DEAD_S + 1)
        assert len(node.got(m.Hello)) == 2
        await db.ping()


@both_backends
async def test_a_ping_of_the_node_is_answered() -> None:
    async with node_and_client() as (node, _):
        node.peers[0].say(m.Ping(9))
        await anyio.wait_all_tasks_blocked()
        assert node.got(m.Pong) == [m.Pong(9, node.now_ms)]


@both_backends
async def test_a_cancelled_request_leaves_the_connection_usable() -> None:
    async with node_and_client() as (node, db):
        held: list[tuple[Peer, m.Message]] = []
        node.script(m.Ping, lambda peer, ping: held.append((peer, ping)))
        with anyio.move_on_after(1):
            await db.ping()
        [(peer, ping)] = held
        node.handle(peer, ping)  # the answer that nobody waits for any more
        await db.ping()
        assert len(node.got(m.Hello)) == 1


@both_backends
async def test_a_cancelled_consumer_still_unsubscribes() -> None:
    async with node_and_client() as (node, db):
        with anyio.move_on_after(1):
            async with db.consume("orders", group="g") as events:
                await anext(events)
        await anyio.wait_all_tasks_blocked()
        assert len(node.got(m.Unsubscribe)) == 1
        assert not node.members


@both_backends
async def test_a_cancelled_client_closes_its_connection() -> None:
    async with running_node() as node:
        with anyio.move_on_after(1):
            async with client_of(node), client_of(node):
                await anyio.sleep_forever()
        await anyio.wait_all_tasks_blocked()
        assert not node.peers


@both_backends
async def test_a_cancelled_publish_may_be_repeated_by_its_id() -> None:
    async with node_and_client() as (node, db):
        node.script(m.Publish, lambda _, message: void(node, message))
        with anyio.move_on_after(1):
            await db.publish("orders", b"x", message_id="a")
        assert (await db.publish("orders", b"x", message_id="a")).duplicate


def void(node: FakeNode, message: m.Message) -> None:
    """Store, and let the answer be lost."""
    assert isinstance(message, m.Publish)
    node._publish(message)


@both_backends
async def test_leaving_while_the_node_is_away_does_not_hang() -> None:
    async with node_and_client() as (node, db):
        async with db.consume("orders", group="g"):
            node.down = True
            node.cut_all()
            await anyio.sleep(3)
            started_s = anyio.current_time()
        assert anyio.current_time() - started_s <= 2


@both_backends
async def test_the_reason_of_a_loss_is_told() -> None:
    async with node_and_client() as (node, db):
        node.down = True
        node.peers[0].say(m.Closing("maintenance"))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ConnectionLost, match="nobody listens"):
            await db.ping()

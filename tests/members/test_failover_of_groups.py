"""A node dies: groups, dead letters and schedules go on with those who lead then."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError
from tests.members.test_dead_letters_in_a_cluster import letters
from tests.members.test_schedules_in_a_cluster import assert_all_once, begun
from tests.support.cluster_member import Attached, assigned, attached, owners, publish
from tests.support.in_cluster import Cluster, cluster
from tests.support.raw_client import Delivery, RawClient, event

PARTITIONS = 6


async def took_over(nodes: Cluster, lost: str) -> None:
    """Wait until others lead what `lost` led."""
    with trio.fail_after(30):
        while lost in nodes.any.view.topics["t"].leaders:  # noqa: ASYNC110 - no event says so
            await trio.sleep(0.05)
    await nodes.led()
    await trio.sleep(1)


async def dies(nodes: Cluster, lost: str, *members: Attached) -> None:
    """A node, and with it its connections to members."""
    await nodes[lost].kill()
    for member in members:
        del member.clients[lost]
    await took_over(nodes, lost)


async def reset(client: RawClient) -> list[m.GroupMove]:
    """Reset the group to its beginning, as often as it takes."""
    for _ in range(5):
        try:
            reply = await client.call(m.ResetGroup, "t", "g", "earliest", False, False)
        except ChronosError as error:
            if not error.retryable:
                raise
            await trio.sleep(1)
        else:
            return list(reply.moves)
    raise AssertionError("it never succeeds")


def names(got: list[Delivery]) -> list[str]:
    return [d.message_id for d in got]


@pytest.mark.slow
async def test_members_are_sent_what_the_next_leader_has(clock: MockClock) -> None:
    """What was acked stays acked, what was leased is delivered again, and to the same member."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=PARTITIONS)
        members = {name: await attached(nodes, name) for name in ("a", "b")}
        await assigned(nodes, "a", "b")
        await trio.sleep(2)
        named = owners(nodes)
        for partition in range(PARTITIONS):
            await publish(nodes, partition, event(f"e{partition}"), event(f"f{partition}"))
        for member in members.values():
            await member.ack(*(d for d in await member.drain(500) if d.message_id[0] == "e"))
        lost = info.leaders[0]
        await dies(nodes, lost, *members.values())
        assert owners(nodes) == named
        for name, member in members.items():
            again = [p for p in range(PARTITIONS) if (info.leaders[p], named[p]) == (lost, name)]
            assert names(await member.drain(500)) == [f"f{p}" for p in again]
        for partition in range(PARTITIONS):
            await publish(nodes, partition, event(f"g{partition}"))
        for name, member in members.items():
            own = [p for p in range(PARTITIONS) if named[p] == name]
            assert names(await member.drain(500)) == [f"g{p}" for p in own]


@pytest.mark.slow
async def test_a_node_that_returns_leads_and_sends_again(clock: MockClock) -> None:
    """Its members come back to it, and keep their partitions."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=PARTITIONS)
        a, b = await attached(nodes, "a"), await attached(nodes, "b")
        await assigned(nodes, "a", "b")
        lost = info.leaders[0]
        await dies(nodes, lost, a, b)
        await nodes[lost].start()
        for member in (a, b):
            member.clients[lost] = await nodes[lost].connect()
            await member.attach(lost)
        await trio.sleep(30)
        named = owners(nodes)
        assert set(named) == {"a", "b"}
        for partition in range(PARTITIONS):
            await publish(nodes, partition, event(f"e{partition}"))
        for member in (a, b):
            own = [p for p in range(PARTITIONS) if named[p] == member.name]
            assert names(await member.drain(500)) == [f"e{p}" for p in own]


async def test_a_reset_is_finished_by_the_next_leaders(clock: MockClock) -> None:
    """It says that it may be tried again, or it succeeds; then every partition has moved."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=PARTITIONS)
        member = await attached(nodes, "a")
        await assigned(nodes, "a")
        for partition in range(PARTITIONS):
            await publish(nodes, partition, event(f"e{partition}"))
        await member.ack(*await member.drain(500))
        await member.vanish()
        lost = info.leaders[0]
        asked = next(n for n in nodes.nodes if n != lost)
        client = await nodes[asked].connect()
        await nodes[lost].kill()
        moves = await reset(client)
        assert [(move.partition, move.new_position) for move in moves] == [
            (p, 0) for p in range(PARTITIONS)
        ]
        again = await attached(nodes, "b")
        assert sorted(names(await again.drain(3000))) == [f"e{p}" for p in range(PARTITIONS)]


async def test_dead_letters_survive_the_leader_of_their_topic(clock: MockClock) -> None:
    """Each arrives once, whoever leads that topic by then."""
    async with cluster(clock) as nodes:
        await nodes.topic("t.dlq", partitions=1)
        await nodes.topic(partitions=PARTITIONS, max_attempts=1)
        lost = (await nodes.led("t.dlq")).leaders[0]
        member = await attached(nodes, "a", mode="shared")
        for partition in range(PARTITIONS):
            await publish(nodes, partition, event(f"e{partition}"))
        got = await member.drain(500)
        await nodes[lost].kill()
        for delivery in got:
            node = member.sender[delivery.partition, delivery.position, 1]
            if node != lost:
                await member.clients[node].nack(delivery)
        del member.clients[lost]
        await took_over(nodes, lost)
        for delivery in await member.drain(5000):
            await member.clients[member.sender[delivery.partition, delivery.position, 1]].nack(
                delivery
            )
        found = [d.meta["message_id"] for d in await letters(nodes, 8000)]
        assert sorted(found) == [f"e{p}" for p in range(PARTITIONS)]


@pytest.mark.slow
@pytest.mark.parametrize("moment_ms", [6_400, 8_700])
async def test_schedules_go_on_when_the_node_that_makes_events_dies(
    clock: MockClock, moment_ms: int
) -> None:
    """No occurrence is lost, none is stored twice."""
    async with cluster(clock, seed=moment_ms) as nodes:
        member = await begun(nodes)
        got = await member.drain(moment_ms)
        await member.ack(*got)
        chief = await nodes.chief()
        await chief.kill()
        del member.clients[chief.name]
        got += await member.drain(20_000)
        stored = {d.message_id: d for d in got}
        assert len({(d.partition, d.offset) for d in got}) == len(stored)
        assert_all_once(list(stored.values()))


async def test_a_replay_that_follows_is_told_when_its_leader_is_another(clock: MockClock) -> None:
    """It ends with an error that may be tried again, and goes on there."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=1)
        await publish(nodes, 0, event("e"))
        leader = nodes[info.leaders[0]]
        other = next(node for node in nodes.running if node is not leader)
        client = await leader.connect()
        await client.call(m.Replay, 1, "t", 0, "offset", None, None, None, True, None, 100_000)
        operator = await other.connect()
        await operator.call(m.TransferLeader, "t", 0, other.name, False)
        with trio.fail_after(10):
            while not any(isinstance(one, m.ReplayEnd) for one in client.streamed):
                await client.drain(100)
        assert [type(one) for one in client.streamed] == [m.Replayed, m.ReplayEnd]
        end = client.streamed[-1]
        assert isinstance(end, m.ReplayEnd)
        assert (end.code, end.retryable) == ("not_leader", True)


@pytest.mark.slow
async def test_members_follow_a_leader_that_was_moved_in_order(clock: MockClock) -> None:
    """Nothing is sent twice that was acked, and each event to the member that owns its partition."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=1)
        a, b = await attached(nodes, "a"), await attached(nodes, "b")
        with trio.fail_after(10):
            while not owners(nodes):  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.05)
        await trio.sleep(2)
        [owner] = owners(nodes)
        mine, others = (a, b) if owner == "a" else (b, a)
        await publish(nodes, 0, event("e"))
        await mine.ack(*await mine.drain(500))
        to = next(name for name in nodes.nodes if name != info.leaders[0])
        operator = await nodes[to].connect()
        await operator.call(m.TransferLeader, "t", 0, to, False)
        await publish(nodes, 0, event("f"))
        assert names(await mine.drain(1000)) == ["f"]
        assert await others.drain(0) == []

"""Groups whose partitions are led by several nodes: who is sent what."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from tests.support.cluster_member import Attached, assigned, attached, owners, publish
from tests.support.in_cluster import Cluster, cluster
from tests.support.raw_client import Delivery, event

PARTITIONS = 6


async def publish_everywhere(nodes: Cluster, name: str) -> None:
    """One event in each partition."""
    for partition in range(PARTITIONS):
        await publish(nodes, partition, event(f"{name}{partition}"))


def partitions_of(deliveries: list[Delivery]) -> list[int]:
    return [d.partition for d in deliveries]


async def settle(nodes: Cluster) -> tuple[str, ...]:
    """The assignment, when it has not changed for long."""
    await trio.sleep(2)
    return owners(nodes)


async def test_the_partitions_of_all_nodes_are_shared_evenly_by_members(clock: MockClock) -> None:
    """Each is sent those of its partitions by whoever leads them, and no other."""
    async with cluster(clock) as nodes:
        await nodes.topic(partitions=PARTITIONS)
        members = [await attached(nodes, name) for name in ("a", "b", "c")]
        named = await assigned(nodes, "a", "b", "c")
        assert sorted(Counter(named).values()) == [2, 2, 2]
        await publish_everywhere(nodes, "e")
        for member in members:
            got = await member.drain(500)
            assert partitions_of(got) == [p for p in range(PARTITIONS) if named[p] == member.name]


@pytest.mark.slow
async def test_a_hundred_members_settle_within_seconds_and_with_few_commands(
    clock: MockClock,
) -> None:
    """They come one after the other; the metadata hear of it a few times."""
    async with cluster(clock) as nodes:
        await nodes.topic(partitions=64)
        clients = {node.name: await node.connect() for node in nodes.running}
        started = trio.current_time()
        before = nodes.any.view.version
        for number in range(100):
            await Attached(f"m{number:02d}", "g", clients).attach("n1")
        for node in ("n2", "n3"):
            for number in range(100):
                await Attached(f"m{number:02d}", "g", clients).attach(node)
        while len(set(owners(nodes))) < 64:  # noqa: ASYNC110 - no event says so
            await trio.sleep(0.05)
        assert trio.current_time() - started < 5
        named = await settle(nodes)
        assert Counter(Counter(named).values()) == {1: 64}
        assert nodes.any.view.version - before < 40


@pytest.mark.slow
async def test_what_a_member_that_vanishes_held_goes_to_the_others(clock: MockClock) -> None:
    """In order, and before anything new."""
    async with cluster(clock) as nodes:
        await nodes.topic(partitions=PARTITIONS)
        a, b = await attached(nodes, "a"), await attached(nodes, "b")
        await assigned(nodes, "a", "b")
        await publish_everywhere(nodes, "one")
        held = await b.drain(500)
        assert len(held) == 3
        assert len(await a.drain(0)) == 3
        await b.vanish()
        assert await assigned(nodes, "a") == ("a",) * PARTITIONS
        again = await a.drain(2000)
        assert [(d.message_id, d.attempt) for d in again] == [(d.message_id, 2) for d in held]


@pytest.mark.slow
async def test_a_member_that_leaves_one_node_is_waited_for_there(clock: MockClock) -> None:
    """It is in its group as long as it is at any node; nobody is sent its partitions meanwhile."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=PARTITIONS)
        a, b = await attached(nodes, "a"), await attached(nodes, "b")
        await assigned(nodes, "a", "b")
        before = await settle(nodes)
        node = next(
            leader for leader, owner in zip(info.leaders, before, strict=True) if owner == "b"
        )
        await b.detach(node)
        await publish_everywhere(nodes, "one")
        got = {d.message_id for d in [*await a.drain(3000), *await b.drain(0)]}
        waiting = {
            f"one{p}" for p in range(PARTITIONS) if (info.leaders[p], before[p]) == (node, "b")
        }
        assert got == {f"one{p}" for p in range(PARTITIONS)} - waiting
        assert owners(nodes) == before
        await b.attach(node)
        assert {d.message_id for d in await b.drain(500)} == waiting


@pytest.mark.slow
async def test_who_never_comes_to_a_leader_does_not_keep_its_partitions(clock: MockClock) -> None:
    """After a while they go to members that did come, and to nobody else (I16)."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=PARTITIONS)
        leaders = set(info.leaders)
        assert len(leaders) > 1
        first, *rest = sorted(leaders)
        await attached(nodes, "far", at=[first])
        await attached(nodes, "near", at=[*rest, first])
        await trio.sleep(15)
        named = await settle(nodes)
        assert {named[p] for p in range(PARTITIONS) if info.leaders[p] != first} == {"near"}
        assert await settle(nodes) == named


async def test_an_old_client_is_sent_what_its_node_leads(clock: MockClock) -> None:
    """It subscribes at one node, under no name."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=PARTITIONS)
        client = await nodes[info.leaders[0]].connect()
        await client.subscribe(mode="ordered")
        await publish(nodes, 0, event("e"))
        assert (await client.next_event()).message_id == "e"


async def test_a_shared_group_sends_to_every_member_of_the_leader(clock: MockClock) -> None:
    """Nobody assigns anything."""
    async with cluster(clock) as nodes:
        await nodes.topic(partitions=1)
        members = [await attached(nodes, name, mode="shared", credit=5) for name in ("a", "b")]
        await publish(nodes, 0, *(event(f"e{i}") for i in range(10)))
        got = [await member.drain(500) for member in members]
        assert [len(some) for some in got] == [5, 5]
        assert owners(nodes) == ()


async def test_a_member_that_comes_again_takes_its_own_place(clock: MockClock) -> None:
    """Its old connection is dead, only nobody has noticed: what it held is delivered again."""
    async with cluster(clock) as nodes:
        await nodes.topic(partitions=1)
        old = await attached(nodes, "a")
        await assigned(nodes, "a")
        await publish(nodes, 0, event("e"))
        assert [d.attempt for d in await old.drain(500)] == [1]
        new = await attached(nodes, "a")
        assert [d.attempt for d in await new.drain(500)] == [2]
        await publish(nodes, 0, event("f"))
        assert await old.drain(500) == []
        assert len(await new.drain(0)) == 1


@pytest.mark.slow
async def test_assignments_stay_when_the_metadata_leader_changes(clock: MockClock) -> None:
    """The new one waits until it has heard of all members, and moves nothing."""
    async with cluster(clock) as nodes:
        await nodes.topic(partitions=PARTITIONS)
        for name, node in zip(("a", "b", "c"), nodes.nodes, strict=True):
            await attached(nodes, name, at=[node])
        await assigned(nodes, "a", "b", "c")
        before = await settle(nodes)
        chief = await nodes.chief()
        other = next(node for node in nodes.running if node is not chief)
        generation = other.view.groups["t", "g"].generation
        await other.member.metadata.transfer(other.name)
        await trio.sleep(5)
        assert (await nodes.chief()) is other
        assert owners(nodes) == before
        assert other.view.groups["t", "g"].generation == generation

"""A node dies, hangs, is cut off or starts again: others lead, and nobody leads without a lease."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.controller.elections import Standing
from chronosdb.raft import NOBODY, NodeState
from tests.controller.nodes import OPTIONS, nodes


async def test_nodes_that_start_become_alive_and_get_a_lease(autojump_clock: MockClock) -> None:
    """Within moments; and keep it."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        for name in "abc":
            assert them.state(name) is NodeState.ALIVE
        for _ in range(30):
            await trio.sleep(0.1)
            assert all(node.heart.held for node in them.running)


async def test_the_partitions_of_a_node_that_dies_are_led_by_others(
    autojump_clock: MockClock,
) -> None:
    """After it was silent for one and a half leases, under a new epoch, with the same in-sync set."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        topic = await them.topic(partitions=30)
        chief = await them.chief()
        victim = next(node for node in them.running if node is not chief)
        led = [p for p in range(30) if topic.leaders[p] == victim.name]
        assert led
        await victim.crash()
        took_s = await them.until(lambda: victim.name not in them.now().leaders)
        assert 1.0 < took_s < OPTIONS.fence_s + 0.5
        assert them.state(victim.name) is NodeState.FENCED
        now = them.now()
        for p in range(30):
            assert now.epochs[p] == 1 + (p in led)
            assert now.isrs[p] == topic.isrs[p]
            assert now.leaders[p] in topic.isrs[p]


async def test_a_dead_controller_costs_little_more(autojump_clock: MockClock) -> None:
    """The next one has heard of everyone already, and knows since when the dead one is silent."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=30)
        victim = await them.chief()
        await victim.crash()
        took_s = await them.until(lambda: victim.name not in them.now().leaders)
        assert took_s < 3.5


async def test_who_has_most_is_elected(autojump_clock: MockClock) -> None:
    """Be it preferred or not."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        topic = await them.topic()
        first, second, third = topic.replicas[0]
        them[second].copies.level = False
        them[second].copies.standings[topic.id, 0] = Standing(1, 90)
        await them[first].crash()
        await them.until(lambda: them.now().leaders[0] != first)
        assert them.now().leaders[0] == third


async def test_an_election_is_preceded_by_promises(autojump_clock: MockClock) -> None:
    """Whoever has a say takes nothing more of an epoch below the one that comes."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        topic = await them.topic()
        first, *others = topic.replicas[0]
        await them[first].crash()
        await them.until(lambda: them.now().leaders[0] in others)
        for name in others:
            assert them[name].copies.promises[topic.id, 0] == them.now().epochs[0] == 2


async def test_without_enough_answers_nobody_leads_until_there_are(
    autojump_clock: MockClock,
) -> None:
    """Of three, one may have missed what the two others had."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        topic = await them.topic()
        first, second, third = topic.replicas[0]
        them[third].copies.answers = False
        await them[first].crash()
        await them.until(lambda: them.now().leaders[0] == NOBODY)
        await trio.sleep(2)
        assert them.now().leaders[0] == NOBODY
        them[third].copies.answers = True
        await them.until(lambda: them.now().leaders[0] == second)


async def test_elections_that_come_to_nothing_keep_no_others_waiting(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are held at a time, and each has its turn: also behind many that only the dead could win."""
    monkeypatch.setattr("chronosdb.node.controller.controller._ELECTIONS_MAX", 1)
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=30, replication=1, name="single")
        await them.topic()
        chief = await them.chief()
        victim = next(node for node in them.running if node is not chief)
        await victim.crash()
        await them.until(lambda: victim.name not in them.now("single").leaders)
        await them.until(lambda: them.now().leaders[0] in {node.name for node in them.running})
        await trio.sleep(1)
        before = them.now()
        them[before.leaders[0]].heart.refused(before.id, 0, before.epochs[0])
        await them.until(lambda: them.now().epochs[0] > before.epochs[0])


async def test_a_node_that_started_again_leads_under_a_new_epoch_or_not_at_all(
    autojump_clock: MockClock,
) -> None:
    """Though nobody noticed that it was away."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        topic = await them.topic(partitions=10)
        chief = await them.chief()
        node = next(node for node in them.running if node is not chief)
        await node.crash()
        await trio.sleep(0.3)
        await them.world.start()
        await them.until(
            lambda: all(
                epoch > 1 and leader != NOBODY
                for epoch, leader, before in zip(
                    them.now().epochs, them.now().leaders, topic.leaders, strict=True
                )
                if before == node.name
            )
        )


async def test_a_node_that_is_cut_off_has_no_lease_when_others_lead(
    autojump_clock: MockClock,
) -> None:
    """Its own clock tells it, before anyone else does anything; and it comes back."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=10)
        chief = await them.chief()
        node = next(node for node in them.running if node is not chief)
        lost: list[bool] = []
        node.heart.watch(lost.append)
        them.world.cut_off(node.name)
        await them.until(lambda: not node.heart.held)
        assert node.name in them.now().leaders
        await trio.sleep(0.01)
        assert lost == [False]
        await them.until(lambda: node.name not in them.now().leaders)
        them.world.hosts.heal()
        await them.until(lambda: node.heart.held)
        assert them.state(node.name) is NodeState.ALIVE
        assert lost == [False, True]


async def test_a_node_that_hears_nothing_is_replaced_though_it_is_heard(
    autojump_clock: MockClock,
) -> None:
    """A cut in one direction: what the controller answers does not arrive, so there is no lease."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=10)
        chief = await them.chief()
        deaf, third = (node for node in them.running if node is not chief)
        for other in (chief, third):
            them.world.hosts.cut(other.name, deaf.name)
        took_s = await them.until(lambda: deaf.name not in them.now().leaders)
        assert took_s < 2.5
        assert not deaf.heart.held
        them.world.hosts.heal()
        await them.until(lambda: deaf.heart.held)


async def test_a_controller_that_is_cut_off_grants_no_lease_even_to_itself(
    autojump_clock: MockClock,
) -> None:
    """Before another can be elected and give its partitions away."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=10)
        chief = await them.chief()
        them.world.cut_off(chief.name)
        took_s = await them.until(lambda: not chief.heart.held)
        assert took_s <= OPTIONS.lease_s + OPTIONS.heartbeat_interval_ms / 1000
        assert chief.name in them.now().leaders
        await them.until(lambda: chief.name not in them.now().leaders)


async def test_a_node_that_stood_still_asks_the_clock_before_anything_else(
    autojump_clock: MockClock,
) -> None:
    """No task needs to run for the lease to be over."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        assert them["a"].heart.held
        autojump_clock.jump(OPTIONS.lease_s)
        assert not them["a"].heart.held


async def test_a_controller_that_stood_still_blames_nobody(autojump_clock: MockClock) -> None:
    """In this one process all stood still; nobody is fenced for it."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        before = await them.topic(partitions=10)
        for _ in range(5):
            autojump_clock.jump(1.9)
            await them.alive()
            await trio.sleep(1)
        assert them.now() == before


async def test_a_leader_that_is_refused_is_replaced(autojump_clock: MockClock) -> None:
    """Perhaps by itself: what a follower promised was to an election that came to nothing."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        topic = await them.topic()
        leader = them[topic.leaders[0]]
        leader.heart.refused(topic.id, 0, 1)
        took_s = await them.until(lambda: them.now().epochs[0] == 2)
        assert took_s < 0.5
        assert them.now().leaders[0] == leader.name
        await trio.sleep(2)
        assert them.now().epochs[0] == 2

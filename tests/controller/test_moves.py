"""Nodes come, are drained and go; partitions and leaderships follow, and are never in danger."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.controller.plans import holdings
from chronosdb.node.peers.peers import Expelled
from chronosdb.raft import (
    NOBODY,
    AlterPartitions,
    CreateTopic,
    NodeState,
    PartitionChange,
    PutClusterSettings,
)
from chronosdb.wire.errors import Conflict, InvalidArgument, NotFound
from tests.controller.nodes import Nodes, nodes


async def _join(them: Nodes, name: str, rack: str = "") -> None:
    await them.operations.add_node(name, f"{name}:1", rack)
    them.add(name)
    await them.world.start()
    await them.alive()


def _balanced(them: Nodes) -> bool:
    topic = them.now()
    return not topic.targets and all(
        leader == replicas[0]
        for leader, replicas in zip(topic.leaders, topic.replicas, strict=True)
    )


async def test_a_node_that_joins_gets_its_share_and_a_vote(autojump_clock: MockClock) -> None:
    """By rebalancing, what it holds comes from all others, and nothing else moves."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        before = await them.topic(partitions=30, replication=2)
        await _join(them, "d")
        assert await them.operations.rebalance() > 0
        await them.until(lambda: _balanced(them), 60)
        after = them.now()
        for p in range(30):
            came = set(after.replicas[p]) - set(before.replicas[p])
            assert came <= {"d"}
            assert set(after.isrs[p]) == set(after.replicas[p])
        assert 5 <= holdings(them.view, "d") <= 25
        assert len(them.view.voters) == 3
        await _join(them, "e")
        await them.until(lambda: len(them.view.voters) == 5, 60)


async def test_a_cluster_of_one_grows_and_its_topics_with_it(autojump_clock: MockClock) -> None:
    """Votes come one at a time; copies when the cluster wants more than one."""
    async with nodes(autojump_clock, "a") as them:
        await them["a"].metadata.submit(CreateTopic("t", 4))
        await _join(them, "b")
        await _join(them, "c")
        await them.until(lambda: them.view.voters == ("a", "b", "c"), 30)
        await them["b"].metadata.submit(PutClusterSettings({"replication": 3}))
        await them.until(lambda: all(len(isr) == 3 for isr in them.now().isrs), 30)


async def test_a_drained_node_gives_everything_away_and_can_go(autojump_clock: MockClock) -> None:
    """Removing drains first; who was removed never comes back."""
    async with nodes(autojump_clock, "a", "b", "c", "d") as them:
        await them.topic(partitions=12, replication=3)
        held = holdings(them.view, "b")
        assert await them.operations.drain_node("b") == held > 0
        with trio.fail_after(60):
            while await them.operations.remove_node("b"):
                topic = them.now()
                assert all(len(isr) >= 3 for isr in topic.isrs)
                await trio.sleep(0.2)
        assert them.state("b") is NodeState.LEFT
        assert "b" not in them.view.voters
        assert all(len(replicas) == 3 for replicas in them.now().replicas)
        life = them["b"].life
        assert life is not None
        await life.ended.wait()
        assert [type(error) for error in life.errors] == [Expelled]
        del them.world.machines["b"]
        with pytest.raises(Conflict, match="removed for good"):
            await them.operations.add_node("b", "b:1")
        assert await them.operations.remove_node("b") == 0


async def test_a_node_whose_copies_have_nowhere_to_go_is_not_drained_to_be_removed(
    autojump_clock: MockClock,
) -> None:
    """The message says what to do; drained by itself it gives its leaderships away, no more."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=12)
        with pytest.raises(Conflict, match="add a node, lower its replication"):
            await them.operations.remove_node("b")
        assert them.state("b") is NodeState.ALIVE
        await them.operations.drain_node("b")
        await them.until(lambda: "b" not in them.now().leaders)
        assert holdings(them.view, "b") == 12
        await them.operations.undrain_node("b")
        await them.until(lambda: _balanced(them), 60)


async def test_lower_replication_lets_it_go(autojump_clock: MockClock) -> None:
    """As the message says; and a higher one brings copies back."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=12)
        await them.operations.set_replication("t", 2)
        await them.until(lambda: all(len(r) == 2 for r in them.now().replicas), 30)
        assert all(
            set(i) == set(r) for i, r in zip(them.now().isrs, them.now().replicas, strict=True)
        )
        await them.operations.set_replication("t", 3)
        await them.until(lambda: all(len(isr) == 3 for isr in them.now().isrs), 30)
        with pytest.raises(InvalidArgument, match="3 nodes are alive"):
            await them.operations.set_replication("t", 4)
        with pytest.raises(NotFound):
            await them.operations.set_replication("u", 2)


async def test_a_node_that_never_comes_back_can_be_given_up(autojump_clock: MockClock) -> None:
    """What others have in sync stays; what it alone had is gone, and its partition starts empty."""
    async with nodes(autojump_clock, "a", "b", "c", "d") as them:
        await them.topic(partitions=12, replication=2)
        alone = await them.topic(partitions=12, replication=1, name="alone")
        chief = await them.chief()
        victim = next(node for node in them.running if node is not chief).name
        lost = [p for p in range(12) if alone.leaders[p] == victim]
        await them[victim].crash()
        await them.until(lambda: victim not in them.now().leaders)
        assert lost
        assert all(them.now("alone").leaders[p] == NOBODY for p in lost)
        with trio.fail_after(60):
            while await them.operations.remove_node(victim, force=True):  # noqa: ASYNC110
                await trio.sleep(0.2)
        now = them.now("alone")
        assert all(now.epochs[p] > alone.epochs[p] for p in lost)
        assert NOBODY not in {*now.leaders, *them.now().leaders}
        del them.world.machines[victim]
        await them.until(lambda: all(len(isr) == 2 for isr in them.now().isrs), 30)


async def test_leaderships_come_back_to_a_node_that_was_away(autojump_clock: MockClock) -> None:
    """Once it has settled, a few at a time, and by a handover: nobody is cut short."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=30)
        chief = await them.chief()
        node = next(node for node in them.running if node is not chief)
        await node.crash()
        await them.until(lambda: node.name not in them.now().leaders)
        await them.world.start()
        await them.alive()
        await trio.sleep(3)
        assert node.name not in them.now().leaders
        took_s = await them.until(lambda: _balanced(them), 60)
        assert took_s > 1
        asked = [handover for other in them.running for handover in other.copies.asked]
        assert {handover.to for handover in asked} == {node.name}


async def test_a_leader_that_cannot_hand_over_goes_on(autojump_clock: MockClock) -> None:
    """It is asked again, but not so often that publishers would notice."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        topic = await them.topic()
        first, second, _ = topic.replicas[0]
        them[first].copies.hands_over = False
        await trio.sleep(5)
        await them.operations.transfer_partition("t", 0, second)
        await trio.sleep(6)
        assert them.now().leaders[0] == first
        assert len(them[first].copies.asked) <= 2
        them[first].copies.hands_over = True
        await them.until(lambda: them.now().leaders[0] == second)


async def test_a_leadership_can_be_transferred_for_good(autojump_clock: MockClock) -> None:
    """To whoever holds a copy; it is the preferred one from then on."""
    async with nodes(autojump_clock, "a", "b", "c", "d") as them:
        topic = await them.topic()
        stranger = next(name for name in "abcd" if name not in topic.replicas[0])
        with pytest.raises(InvalidArgument, match="holds no copy"):
            await them.operations.transfer_partition("t", 0, stranger)
        with pytest.raises(NotFound):
            await them.operations.transfer_partition("t", 1, "a")
        heir = topic.replicas[0][2]
        await them.operations.transfer_partition("t", 0, heir)
        await them.until(lambda: them.now().leaders[0] == heir)
        assert them.now().replicas[0][0] == heir
        await trio.sleep(2)
        assert them.now().leaders[0] == heir


async def test_a_node_that_resigns_leads_nothing_soon(autojump_clock: MockClock) -> None:
    """The metadata neither; so its end is not noticed."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=100)
        chief = await them.chief()
        began_s = trio.current_time()
        await chief.heart.resign()
        assert trio.current_time() - began_s < 3
        assert chief.name not in them.now().leaders
        assert not chief.metadata.is_leader


async def test_who_alone_has_something_does_not_wait_to_be_rid_of_it(
    autojump_clock: MockClock,
) -> None:
    """With one copy of everything nobody could take over, and a stop is at once."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=12, replication=1)
        chief = await them.chief()
        began_s = trio.current_time()
        await chief.heart.resign()
        assert trio.current_time() - began_s < 1
        assert chief.name in them.now().leaders


async def test_a_new_controller_goes_on_with_moves(autojump_clock: MockClock) -> None:
    """They are in the metadata; the one that began them is dead."""
    async with nodes(autojump_clock, "a", "b", "c", "d") as them:
        await them.topic(partitions=40, replication=2)
        await _join(them, "e")
        await them.operations.rebalance()
        await trio.sleep(0.3)
        left = await them.operations.moves_left()
        assert left > 0
        chief = await them.chief()
        await chief.crash()
        await trio.sleep(2)
        await them.world.start()
        await them.alive()
        await them.until(lambda: not them.now().targets, 60)


async def test_moves_can_be_cancelled(autojump_clock: MockClock) -> None:
    """What was on its way goes back to what it was."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=100, replication=2)
        await _join(them, "d")
        await them.operations.rebalance()
        await trio.sleep(0.3)
        await them.operations.cancel_moves()
        await them.until(lambda: all(len(r) == 2 for r in them.now().replicas), 30)
        assert not them.now().targets
        assert holdings(them.view, "d") < 40


async def test_a_clock_that_is_wrong_costs_the_node_its_leaderships(
    autojump_clock: MockClock,
) -> None:
    """It would fire early, or late; set right, it may lead again."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=10)
        node = them.running[0]
        node.set_clock_ahead(2_000)
        await them.until(lambda: not node.heart.held)
        await them.until(lambda: node.name not in them.now().leaders)
        health = (await them.chief()).controller.heard()[node.name]
        assert health.far_off
        assert health.ahead_ms is not None
        node.set_clock_ahead(100)
        await them.until(lambda: node.heart.held)
        await them.until(lambda: _balanced(them), 60)


async def test_a_controller_whose_clock_is_wrong_lets_another_lead_the_metadata(
    autojump_clock: MockClock,
) -> None:
    """It finds that it is itself the one that is off, and suspects no other meanwhile."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        await them.topic(partitions=10)
        chief = await them.chief()
        others = [node.name for node in them.running if node is not chief]
        chief.set_clock_ahead(-3_000)
        while chief.name in them.now().leaders:
            assert all(them.state(name) is NodeState.ALIVE for name in others)
            await trio.sleep(0.01)
        await them.until(lambda: not chief.metadata.is_leader)


async def test_an_operator_can_elect_whoever_is_left(autojump_clock: MockClock) -> None:
    """Only by saying so: whoever leads may lack what was acknowledged."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        topic = await them.topic(replication=2)
        first, second = topic.replicas[0]
        them[second].copies.level = False
        alone = PartitionChange("t", 0, topic.versions[0], first, (first, second), (first,))
        await them["a"].metadata.submit(AlterPartitions((alone,)))
        await them[first].crash()
        await them.until(lambda: them.now().leaders[0] == NOBODY)
        await trio.sleep(2)
        assert them.now().leaders[0] == NOBODY
        await them.operations.elect_unclean("t", 0, second)
        now = them.now()
        assert (now.leaders[0], now.isrs[0]) == (second, (second,))
        assert now.epochs[0] == 3

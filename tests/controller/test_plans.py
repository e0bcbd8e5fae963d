"""Plans and their steps, played through on the real state machine with leaders that do their part."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.node.controller import plans
from chronosdb.node.controller.fitness import Fitness
from chronosdb.node.controller.moving import leaders_to_relieve, leaders_to_return, next_steps
from chronosdb.node.controller.seats import seat_of, taken
from chronosdb.raft import (
    AdmitNode,
    AlterPartitions,
    BeginLife,
    Command,
    CreateTopic,
    NodeState,
    PartitionChange,
    PlanMoves,
    PutClusterSettings,
    RemoveNode,
    Result,
    SetNodeState,
    SetReplication,
    TopicInfo,
)
from chronosdb.testing.chance import Random
from tests.raft.test_state import Machine

IN_FLIGHT = 3


class Cluster(Machine):
    """Nodes by name, in racks by the names' first letters."""

    def __init__(self, nodes: list[str], partitions: int, replication: int) -> None:
        super().__init__()
        for node in nodes:
            self.join(node)
        self.do(CreateTopic("t", partitions, {"replication": replication}))
        self.floor: list[int] = []

    def join(self, node: str) -> None:
        self.do(AdmitNode(node, "h:1", node[0] if node[0] != "x" else ""))
        self.do(BeginLife(node, "h:1", 1))
        self.mark(node, NodeState.ALIVE)

    def mark(self, node: str, state: NodeState) -> None:
        assert self.do(SetNodeState(node, 1, state.value)).ok

    @property
    def topic(self) -> TopicInfo:
        return self.state.view.topics["t"]

    @property
    def fitness(self) -> Fitness:
        states = {n.node: n.state for n in self.state.view.nodes.values()}
        able = {n for n, s in states.items() if s in {NodeState.ALIVE, NodeState.DRAINING}}
        alive = {n for n, s in states.items() if s is NodeState.ALIVE}
        return Fitness(frozenset(able), frozenset(alive), (), ())

    def done(self, command: Command) -> Result:
        result = self.do(command)
        assert result.ok, (command, result)
        return result

    def controller(self) -> bool:
        """One round; whether there was anything to do."""
        view, fitness = self.state.view, self.fitness
        moves = plans.needed_moves(view)
        steps = next_steps(view, fitness, IN_FLIGHT)
        seats = {seat.key: seat for seat in (*leaders_to_relieve(view, fitness), *steps.handovers)}
        for move in moves:
            self.done(PlanMoves((move,)))
        for change in steps.changes:
            self.done(AlterPartitions((change,)))
        for seat in seats.values():
            if self.topic.versions[seat.partition] == seat.version:
                assert seat.wanted in seat.isr
                self.done(AlterPartitions((taken(seat, seat.wanted),)))
        return bool(moves or steps.changes or seats)

    def leaders(self, chance: Random | None = None) -> bool:
        """Each leader takes one more in, or lets one go; whether there was anything to do."""
        did = False
        for p, leader in enumerate(self.topic.leaders):
            replicas, isr = self.topic.replicas[p], self.topic.isrs[p]
            leaving = self.topic.leaving(p)
            goes = [n for n in isr if n in leaving][:1]
            comes = [n for n in replicas if n in self.fitness.able - {*isr, *leaving}][:1]
            after = tuple(n for n in replicas if n in {*isr, *(() if goes else comes)} - {*goes})
            if after == isr or leader not in self.fitness.able:
                continue
            did = True
            if chance is None or chance.random() < 0.5:
                now = self.topic.versions[p]
                change = replace(taken_as_is(self.topic, p), isr=after, version=now)
                self.done(AlterPartitions((change,)))
        return did

    def check(self) -> None:
        """What must hold at every moment."""
        t = self.topic
        for p in range(t.partitions):
            assert len(t.isrs[p]) >= self.floor[p]
            assert t.leaders[p] in t.isrs[p]
        coming = [
            p
            for p in range(t.partitions)
            if not set(t.target(p)) & set(t.replicas[p]) <= set(t.isrs[p])
        ]
        assert len(coming) <= IN_FLIGHT

    def play(self, chance: Random | None = None) -> None:
        """Until nothing is left to do."""
        copies = self.topic.settings["replication"]
        self.floor = [min(copies, len(isr)) for isr in self.topic.isrs]
        for _ in range(1_000):
            did = self.controller()
            self.check()
            did |= self.leaders(chance)
            self.check()
            if not did:
                return
        raise AssertionError(self.topic)


def taken_as_is(topic: TopicInfo, p: int) -> PartitionChange:
    return replace(taken(seat_of(topic, p), topic.leaders[p]), anew=False)


_chances = st.integers(0, 99).map(Random)
_names = st.lists(
    st.sampled_from(["a1", "a2", "a3", "b1", "b2", "c1", "x1", "x2"]),
    min_size=3,
    max_size=7,
    unique=True,
)


@given(_names, st.integers(1, 4), st.integers(1, 3), _chances)
@settings(max_examples=30, deadline=None)
def test_a_drained_node_gives_up_nothing_too_early(
    names: list[str], partitions: int, replication: int, chance: Random
) -> None:
    """And everything in the end, if there are nodes enough; others keep what they had."""
    c = Cluster(names, partitions, replication)
    before, node = c.topic, names[0]
    stuck = plans.immovable(c.state.view, node)
    c.mark(node, NodeState.DRAINING)
    c.play(chance)
    t = c.topic
    for p in range(partitions):
        assert len(t.isrs[p]) == len(t.replicas[p]) == min(replication, len(names))
        if node in before.replicas[p] and stuck is None:
            assert set(t.replicas[p]) >= set(before.replicas[p]) - {node}
            if before.leaders[p] != node:
                assert t.leaders[p] == before.leaders[p]
        else:
            assert t.replicas[p] == before.replicas[p]
    if stuck is None:
        assert plans.holdings(c.state.view, node) == 0
        assert c.do(RemoveNode(node)).ok
    if len(names) > 1 and replication > 1:
        assert node not in t.leaders


@given(_names, st.integers(1, 6), st.integers(1, 3), _chances)
@settings(max_examples=30, deadline=None)
def test_rebalancing_moves_what_must_and_nothing_else(
    names: list[str], partitions: int, replication: int, chance: Random
) -> None:
    """From the old nodes only new ones take anything. It ends where all would have been placed; what
    has one copy, wherever it was, in even shares.
    """
    old, new = names[:-1], names[-1]
    c = Cluster(old, partitions, replication)
    before = c.topic
    c.join(new)
    for move in plans.rebalanced(c.state.view):
        c.done(PlanMoves((move,)))
    c.play(chance)
    expected = Cluster(names, partitions, replication).topic
    t = c.topic
    for p in range(partitions):
        assert set(t.replicas[p]) - set(before.replicas[p]) <= {new}
        if len(old) >= replication:
            assert len(set(before.replicas[p]) - set(t.replicas[p])) <= 1
        assert t.replicas[p] == expected.replicas[p] or replication == 1
        assert set(t.isrs[p]) == set(t.replicas[p])
    if replication == 1:
        shares = [plans.holdings(c.state.view, node) for node in names]
        assert max(shares) - min(shares) <= 1
    assert plans.rebalanced(c.state.view) == []


@given(_names, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), _chances)
@settings(max_examples=30, deadline=None)
def test_copies_come_and_go_with_the_replication(
    names: list[str], partitions: int, first: int, then: int, chance: Random
) -> None:
    """The leader stays; of those in sync none goes that others could go for."""
    c = Cluster(names, partitions, first)
    before = c.topic
    c.done(SetReplication("t", then))
    c.play(chance)
    t = c.topic
    for p in range(partitions):
        assert len(t.replicas[p]) == len(t.isrs[p]) == then
        assert t.leaders[p] == before.leaders[p]
        some, more = sorted((set(before.replicas[p]), set(t.replicas[p])), key=len)
        assert some <= more


@given(_names, st.integers(1, 3), _chances)
@settings(max_examples=30, deadline=None)
def test_racks_stay_as_even_as_they_can_be(
    names: list[str], replication: int, chance: Random
) -> None:
    """A copy that is made up for is not put beside another without need."""
    c = Cluster(names, 4, replication)
    c.mark(names[0], NodeState.DRAINING)
    before = c.topic
    c.play(chance)
    for p in range(4):
        for came in set(c.topic.replicas[p]) - set(before.replicas[p]):
            rest = [n for n in c.topic.replicas[p] if n != came]
            used = [n[0] for n in rest if n[0] != "x"]
            free = set(names[1:]) - set(c.topic.replicas[p])
            for other in free:
                assert came[0] == "x" or used.count(came[0]) <= used.count(other[0])


def test_a_node_that_is_away_for_long_gets_nothing_more() -> None:
    """What was on its way there goes elsewhere; what it has it keeps."""
    c = Cluster(["x1", "x2", "x3"], 6, 2)
    for node in ("x4", "x5"):
        c.join(node)
    for move in plans.rebalanced(c.state.view):
        c.done(PlanMoves((move,)))
    c.controller()
    c.mark("x4", NodeState.FENCED)
    held = plans.holdings(c.state.view, "x4")
    assert held
    for move in plans.needed_moves(c.state.view, gone={"x4"}):
        assert "x4" not in move.target
        c.done(PlanMoves((move,)))
    c.play()
    assert plans.holdings(c.state.view, "x4") == 0
    assert not c.topic.targets


def test_a_topic_that_says_nothing_gets_more_but_never_fewer() -> None:
    """What the cluster wants may change; nobody asked for the loss of copies."""
    c = Cluster(["x1"], 1, 1)
    c.do(CreateTopic("u", 2))
    for node in ("x2", "x3"):
        c.join(node)
    c.done(PutClusterSettings({"replication": 3}))
    (one, two) = plans.needed_moves(c.state.view)
    assert (one.topic, two.topic) == ("u", "u")
    assert len(one.target) == len(two.target) == 3
    for move in (one, two):
        topic, p = c.state.view.topics["u"], move.partition
        change = replace(taken_as_is(topic, p), replicas=move.target, isr=move.target)
        c.done(AlterPartitions((change,)))
    c.done(PutClusterSettings({"replication": 1}))
    assert plans.needed_moves(c.state.view) == []


def test_a_topic_made_before_there_were_nodes_is_placed_when_there_are() -> None:
    """It is empty: all of its copies are in sync at once."""
    c = Cluster([], 2, 2)
    assert not any(c.topic.replicas)
    for node in ("x1", "x2", "x3"):
        c.join(node)
    changes = plans.first_homes(c.state.view, {"x1", "x2"})
    c.done(AlterPartitions(tuple(changes)))
    for p in (0, 1):
        assert set(c.topic.replicas[p]) == set(c.topic.isrs[p]) == {"x1", "x2"}
        assert c.topic.leaders[p] == c.topic.replicas[p][0]
    assert plans.first_homes(c.state.view, {"x1", "x2"}) == []


def test_nothing_is_copied_from_nobody_or_to_who_is_away() -> None:
    """It waits; what others wait for is not held up by it."""
    c = Cluster(["x1", "x2"], 1, 1)
    (leader,) = set(c.topic.leaders)
    other = {"x1": "x2", "x2": "x1"}[leader]
    c.done(SetReplication("t", 2))
    (move,) = plans.needed_moves(c.state.view)
    c.done(PlanMoves((move,)))
    for away in (leader, other):
        c.mark(away, NodeState.FENCED)
        assert next_steps(c.state.view, c.fitness, IN_FLIGHT).changes == ()
        c.mark(away, NodeState.ALIVE)
    assert next_steps(c.state.view, c.fitness, 0).changes == ()
    assert len(next_steps(c.state.view, c.fitness, 1).changes) == 1


def test_leaderships_return_to_the_most_preferred_that_has_settled() -> None:
    """Not from one that is better, not to one that is not in sync, and not while a partition moves."""
    c = Cluster(["x1", "x2", "x3"], 1, 3)
    first, second, third = c.topic.replicas[0]
    everyone = {first, second, third}
    assert leaders_to_return(c.state.view, c.fitness, everyone) == []
    c.done(AlterPartitions((replace(taken_as_is(c.topic, 0), leader=third),)))
    (seat,) = leaders_to_return(c.state.view, c.fitness, everyone)
    assert (seat.leader, seat.wanted) == (third, first)
    (seat,) = leaders_to_return(c.state.view, c.fitness, {second, third})
    assert seat.wanted == second
    assert leaders_to_return(c.state.view, c.fitness, {third}) == []
    c.done(AlterPartitions((replace(taken_as_is(c.topic, 0), isr=(second, third)),)))
    (seat,) = leaders_to_return(c.state.view, c.fitness, everyone)
    assert seat.wanted == second


@pytest.mark.parametrize("in_sync", [True, False])
def test_what_only_a_lost_node_had_is_given_up_and_nothing_else(in_sync: bool) -> None:
    """By an unclean change to an old copy, if there is one."""
    c = Cluster(["x1", "x2", "x3"], 1, 2)
    lost, other = c.topic.replicas[0]
    if not in_sync:
        c.done(AlterPartitions((replace(taken_as_is(c.topic, 0), isr=(lost,)),)))
    c.mark(lost, NodeState.DRAINING)
    moves, losses = plans.evacuated(c.state.view, lost)
    if in_sync:
        assert losses == []
        (move,) = moves
        assert lost not in move.target
    else:
        assert moves == []
        (loss,) = losses
        assert (loss.leader, loss.replicas, loss.isr, loss.unclean) == (
            other,
            (other,),
            (other,),
            True,
        )
        c.done(AlterPartitions((loss,)))
        assert c.topic.epochs[0] == 2

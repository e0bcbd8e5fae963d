"""Partitions' replicas, leaders and in-sync sets: changed under a version, never unsafely."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronosdb.raft import (
    NOBODY,
    AlterPartitions,
    BeginLife,
    CreateTopic,
    Move,
    PartitionChange,
    PlanMoves,
    RegisterNode,
    RemoveNode,
    Result,
    Status,
)
from tests.raft.test_state import Machine


class Cluster(Machine):
    """Three nodes, and a topic "t" of two partitions on all of them."""

    def __init__(self) -> None:
        super().__init__()
        for node in ("n1", "n2", "n3"):
            self.do(RegisterNode(node, "h:1", 1))
        self.do(CreateTopic("t", 2, {"replication": 3}))

    def as_it_is(self, partition: int = 0) -> PartitionChange:
        t = self.state.view.topics["t"]
        p = partition
        return PartitionChange("t", p, t.versions[p], t.leaders[p], t.replicas[p], t.isrs[p])

    def alter(self, **change: object) -> Result:
        return self.do(AlterPartitions((replace(self.as_it_is(), **change),)))  # type: ignore[arg-type]


def test_an_election_raises_the_epoch_and_nothing_else_does() -> None:
    """Each leadership has a number of its own."""
    c = Cluster()
    first, second, third = c.as_it_is().replicas
    assert c.alter(isr=(first, second)).ok
    assert c.state.view.topics["t"].epochs == (1, 1)
    assert c.alter(leader=second, isr=(second,)).ok
    topic = c.state.view.topics["t"]
    assert topic.epochs == (2, 1)
    assert topic.leaders[0] == second
    assert topic.isrs[0] == (second,)
    assert topic.versions[0] == c.index
    assert set(topic.replicas[0]) == {first, second, third}


def test_a_change_of_what_has_changed_since_is_refused() -> None:
    """Two who decide at the same time cannot both succeed."""
    c = Cluster()
    before = c.as_it_is()
    assert c.do(AlterPartitions((before,))).ok
    assert c.do(AlterPartitions((before,))).status is Status.CONFLICT


def test_all_partitions_are_changed_or_none() -> None:
    """One that does not fit refuses the whole command."""
    c = Cluster()
    good, stale = c.as_it_is(0), replace(c.as_it_is(1), version=0)
    view = c.state.view
    assert c.do(AlterPartitions((good, stale))).status is Status.CONFLICT
    assert c.state.view == view
    assert c.do(AlterPartitions((good, good))).status is Status.INVALID
    assert c.do(AlterPartitions(())).status is Status.INVALID


def test_only_who_was_in_sync_may_lead() -> None:
    """Unless someone says that the others are gone for good."""
    c = Cluster()
    first, second, third = c.as_it_is().replicas
    assert c.alter(isr=(first, second)).ok
    assert c.alter(leader=third, isr=(third,)).status is Status.INVALID
    assert c.alter(leader=third, isr=(second, third)).status is Status.INVALID
    assert c.alter(leader=NOBODY, isr=(third,)).status is Status.INVALID
    assert c.alter(leader=third, isr=(third,), unclean=True).ok


def test_a_partition_may_be_without_a_leader() -> None:
    """Its in-sync set says who may become it."""
    c = Cluster()
    first, second, _ = c.as_it_is().replicas
    assert c.alter(leader=NOBODY, isr=(first, second)).ok
    assert c.state.view.topics["t"].leaders[0] == NOBODY
    assert c.alter(leader=second, isr=(second,)).ok
    assert c.state.view.topics["t"].epochs[0] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": ()},
        {"replicas": ("n1", "n1")},
        {"replicas": ("n1", "n2", "n3", "n9")},
        {"replicas": tuple(f"n{n}" for n in range(8))},
        {"isr": ()},
        {"isr": ("n1", "n9")},
        {"isr": ("n1", "n1", "n2", "n3")},
        {"leader": "n9"},
    ],
)
def test_what_makes_no_sense_is_invalid(change: dict[str, object]) -> None:
    """Also as unclean."""
    c = Cluster()
    assert c.alter(**change).status is Status.INVALID
    assert c.alter(**change, unclean=True).status is Status.INVALID


def test_who_is_elected_again_leads_under_a_new_epoch() -> None:
    """What was on its way under the old one must not count."""
    c = Cluster()
    assert c.alter(anew=True).ok
    topic = c.state.view.topics["t"]
    assert topic.epochs == (2, 1)
    assert topic.leaders[0] == topic.replicas[0][0]
    assert c.alter(leader=topic.replicas[0][1], anew=True).ok
    assert c.state.view.topics["t"].epochs == (3, 1)


def test_a_node_that_begins_a_new_life_leads_nothing() -> None:
    """Under epochs that are over; what others lead, and who is in sync, stays."""
    c = Cluster()
    before = c.state.view.topics["t"]
    first, other = before.leaders[0], next(n for n in before.isrs[0] if n != before.leaders[0])
    assert c.do(AlterPartitions((replace(c.as_it_is(1), leader=other),))).ok
    assert c.do(BeginLife(first, "h:2", 2)).ok
    after = c.state.view.topics["t"]
    assert after.leaders == (NOBODY, other)
    assert after.epochs[0] == 2
    assert after.isrs == before.isrs
    assert after.versions[0] == c.index
    assert c.alter(leader=other).ok
    view = c.state.view
    assert c.do(BeginLife(other, "h:1", 1)).ok
    assert c.state.view is view
    assert c.do(BeginLife(first, "h:2", 1)).status is Status.CONFLICT


def test_a_partition_has_a_target_until_it_is_there() -> None:
    """The leader is told whom to let go once all that stay are in sync; a target costs no version."""
    c = Cluster()
    c.do(RegisterNode("n4", "h:1", 1))
    first, second, third = c.as_it_is().replicas
    target = (first, second, "n4")
    assert c.do(PlanMoves((Move("t", 0, target),))).ok
    topic = c.state.view.topics["t"]
    assert topic.targets == (target, ())
    assert topic.versions[0] < c.index
    assert c.alter(replicas=(first, second, third, "n4")).ok
    assert c.state.view.topics["t"].leaving(0) == ()
    assert c.alter(isr=(first, second, third, "n4")).ok
    assert c.state.view.topics["t"].leaving(0) == (third,)
    assert c.alter(leader=third).ok
    assert c.state.view.topics["t"].leaving(0) == ()
    assert c.alter(leader=first, isr=(first, second, "n4")).ok
    assert c.state.view.topics["t"].target(0) == target
    assert c.alter(replicas=target).ok
    assert c.state.view.topics["t"].targets == ()


@pytest.mark.parametrize(
    ("move", "status"),
    [
        (Move("u", 0, ("n1",)), Status.NOT_FOUND),
        (Move("t", 2, ("n1",)), Status.NOT_FOUND),
        (Move("t", -1, ("n1",)), Status.NOT_FOUND),
        (Move("t", 0, ("n9",)), Status.INVALID),
        (Move("t", 0, ("n1", "n1")), Status.INVALID),
    ],
)
def test_a_move_must_lead_somewhere(move: Move, status: Status) -> None:
    """And one that does not spoils all of them."""
    c = Cluster()
    view = c.state.view
    good = Move("t", 1, ("n1",))
    assert c.do(PlanMoves((good, move))).status is status
    assert c.do(PlanMoves((good, good))).status is Status.INVALID
    assert c.state.view == view


def test_a_move_can_be_called_off() -> None:
    """By a target of nobody, by one that is where it is already, or by removing a node of it."""
    c = Cluster()
    c.do(RegisterNode("n4", "h:1", 1))
    here = c.as_it_is().replicas
    for last in (Move("t", 0, ()), Move("t", 0, here)):
        c.do(PlanMoves((Move("t", 0, ("n4",)),)))
        assert c.state.view.topics["t"].target(0) == ("n4",)
        assert c.do(PlanMoves((last,))).ok
        assert c.state.view.topics["t"].targets == ()
    c.do(PlanMoves((Move("t", 0, ("n4",)), Move("t", 1, (here[0],)))))
    assert c.do(RemoveNode("n4")).ok
    assert c.state.view.topics["t"].targets == ((), (here[0],))


def test_there_must_be_such_a_partition() -> None:
    """Of such a topic."""
    c = Cluster()
    assert c.alter(partition=2).status is Status.NOT_FOUND
    assert c.alter(partition=-1).status is Status.NOT_FOUND
    assert c.alter(topic="u").status is Status.NOT_FOUND


def test_replicas_move_and_the_node_can_go() -> None:
    """First a new one joins and catches up, then the old one leaves."""
    c = Cluster()
    c.do(RegisterNode("n4", "h:1", 1))
    for p in (0, 1):
        now = c.as_it_is(p)
        heir = next(node for node in now.isr if node != "n1")
        stay = tuple(node for node in now.isr if node != "n1")
        steps = [
            {"replicas": (*now.replicas, "n4")},
            {"isr": (*now.isr, "n4")},
            {"leader": heir, "isr": (*stay, "n4"), "replicas": (*stay, "n4")},
        ]
        for step in steps:
            change = replace(c.as_it_is(p), **step)  # type: ignore[arg-type]
            assert c.do(AlterPartitions((change,))).ok
    assert c.do(RemoveNode("n1")).ok

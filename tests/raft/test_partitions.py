"""Partitions' replicas, leaders and in-sync sets: changed under a version, never unsafely."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronosdb.raft import (
    NOBODY,
    AlterPartitions,
    CreateTopic,
    PartitionChange,
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

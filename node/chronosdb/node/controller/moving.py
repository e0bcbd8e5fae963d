"""The next step of each partition on its way to its target (pure).

New copies come first; when all of the target are in sync, the leader among them lets the others go out
of the in-sync set, and then they go. So at no time are there fewer copies than before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from chronosdb.node.controller.fitness import Fitness
from chronosdb.node.controller.seats import Seat, seat_of
from chronosdb.raft import NOBODY, ClusterView, PartitionChange, TopicInfo


@dataclass(frozen=True, slots=True)
class Steps:
    """What can be done now."""

    changes: tuple[PartitionChange, ...]
    #: Leaderships that are to go to the one that each wants, by an orderly handover.
    handovers: tuple[Seat, ...]


def next_steps(view: ClusterView, fitness: Fitness, in_flight_max: int) -> Steps:
    """For all partitions that have a target; at most so many get new copies at one time."""
    moving = [
        (topic, p) for topic in view.topics.values() for p, to in enumerate(topic.targets) if to
    ]
    room = in_flight_max - sum(_catches_up(topic, p) for topic, p in moving)
    changes: list[PartitionChange] = []
    handovers: list[Seat] = []
    for topic, p in moving:
        change = _change(topic, p, fitness, room)
        if change is not None:
            changes.append(change)
            room -= len(change.replicas) > len(topic.replicas[p])
        elif set(topic.target(p)) <= set(topic.isrs[p]):
            handovers += _handover(topic, p, fitness)
    return Steps(tuple(changes), tuple(handovers))


def _catches_up(topic: TopicInfo, p: int) -> bool:
    coming = set(topic.target(p)) & set(topic.replicas[p])
    return not coming <= set(topic.isrs[p])


def _change(topic: TopicInfo, p: int, fitness: Fitness, room: int) -> PartitionChange | None:
    target, replicas, isr = topic.target(p), topic.replicas[p], topic.isrs[p]
    new = [node for node in target if node not in replicas]
    if new:
        # Nobody copies from nobody, or to a node that is away.
        ready = topic.leaders[p] in fitness.able and fitness.able.issuperset(new)
        return _with(topic, p, (*replicas, *new), isr) if ready and room > 0 else None
    only_ordered_anew = set(target) == set(replicas)
    if only_ordered_anew or set(isr) == set(target):
        return _with(topic, p, target, tuple(node for node in target if node in isr))
    return None


def _with(
    topic: TopicInfo, p: int, replicas: tuple[str, ...], isr: tuple[str, ...]
) -> PartitionChange:
    return PartitionChange(topic.name, p, topic.versions[p], topic.leaders[p], replicas, isr)


def _handover(topic: TopicInfo, p: int, fitness: Fitness) -> Iterator[Seat]:
    """A leader that is to go cannot let itself go."""
    if topic.leaders[p] in {NOBODY, *topic.target(p)}:
        return
    heirs = [node for node in topic.target(p) if node in fitness.willing]
    if heirs:
        yield seat_of(topic, p, wanted=heirs[0])


def leaders_to_relieve(view: ClusterView, fitness: Fitness) -> list[Seat]:
    """Leaderships of nodes that are drained, or about to stop, for whom there is somebody else."""
    return [
        seat_of(topic, p, wanted=heirs[0])
        for topic in view.topics.values()
        for p, leader in enumerate(topic.leaders)
        if leader in fitness.able and leader not in fitness.willing
        for heirs in [_in_sync(topic, p, fitness.willing)]
        if heirs
    ]


def leaders_to_return(view: ClusterView, fitness: Fitness, settled: Collection[str]) -> list[Seat]:
    """Leaderships that a more preferred replica can have back, which is in sync and here to stay."""
    seats = []
    for topic in view.topics.values():
        for p, leader in enumerate(topic.leaders):
            if leader not in fitness.willing or topic.target(p):
                continue
            better = _in_sync(topic, p, fitness.willing & set(settled))
            if better and topic.replicas[p].index(better[0]) < topic.replicas[p].index(leader):
                seats.append(seat_of(topic, p, wanted=better[0]))
    return seats


def _in_sync(topic: TopicInfo, p: int, nodes: Collection[str]) -> list[str]:
    return [node for node in topic.replicas[p] if node in nodes and node in topic.isrs[p]]

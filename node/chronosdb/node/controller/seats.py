"""Partitions whose leadership is to be filled (pure): which, by whom, and by what command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from chronosdb.node.controller.elections import Standing, winner
from chronosdb.node.controller.fitness import Fitness
from chronosdb.raft import NOBODY, ClusterView, PartitionChange, TopicInfo

#: (topic id, partition).
Key: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Seat:
    """One partition's leadership, as the metadata has it."""

    topic: str
    topic_id: int
    partition: int
    version: int
    leader: str
    epoch: int
    replicas: tuple[str, ...]
    isr: tuple[str, ...]
    #: Who should have it if that is possible; empty: the first of the replicas.
    wanted: str = ""

    @property
    def key(self) -> Key:
        """Which partition."""
        return self.topic_id, self.partition

    @property
    def next_epoch(self) -> int:
        """Of whoever is elected: below it nothing may be taken any more."""
        return self.epoch + 1


def seat_of(topic: TopicInfo, p: int, wanted: str = "") -> Seat:
    """The seat of a topic's partition."""
    return Seat(
        topic.name,
        topic.id,
        p,
        topic.versions[p],
        topic.leaders[p],
        topic.epochs[p],
        topic.replicas[p],
        topic.isrs[p],
        wanted,
    )


def open_seats(view: ClusterView, fitness: Fitness, refused: Mapping[Key, int]) -> list[Seat]:
    """Those that nobody has, or nobody who may lead; `refused`: under which epoch its leader was."""
    return [
        seat_of(topic, p)
        for topic in view.topics.values()
        for p, leader in enumerate(topic.leaders)
        if topic.replicas[p]
        and (leader not in fitness.able or refused.get((topic.id, p)) == topic.epochs[p])
    ]


def filled(
    seat: Seat, standings: Mapping[str, Standing], fitness: Fitness
) -> PartitionChange | None:
    """The outcome of an election by these standings; None if it has none yet."""
    fit = sorted(
        (node for node in seat.isr if node in fitness.able), key=_preference(seat, fitness)
    )
    leader = winner(seat.isr, standings, fit)
    return None if leader is None else taken(seat, leader)


def taken(seat: Seat, leader: str) -> PartitionChange:
    """A seat goes to a node, or to nobody; the in-sync set stays.

    It is the leader's to shrink: it alone knows which of them have what is committed.
    """
    return PartitionChange(
        seat.topic,
        seat.partition,
        seat.version,
        leader,
        seat.replicas,
        seat.isr,
        anew=leader != NOBODY,
    )


def deserted(seats: list[Seat], fitness: Fitness) -> Iterator[PartitionChange]:
    """Those of a leader that may not lead: clients should know that there is nobody."""
    for seat in seats:
        if seat.leader not in {NOBODY, *fitness.able}:
            yield taken(seat, NOBODY)


def _preference(seat: Seat, fitness: Fitness) -> Callable[[str], tuple[bool, bool, int]]:
    def key(node: str) -> tuple[bool, bool, int]:
        return node != seat.wanted, node not in fitness.willing, seat.replicas.index(node)

    return key

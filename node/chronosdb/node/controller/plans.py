"""Where partitions should be (pure): what draining, a topic's replication and rebalancing ask for.

A plan is noted in the metadata as each partition's target, so another controller can go on with it;
what follows from the state of nodes and topics is planned again and again, until nothing is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from chronosdb.raft import ClusterView, Move, NodeState, PartitionChange, TopicInfo
from chronosdb.raft.placement import evenly, extended, place


@dataclass(frozen=True, slots=True)
class _Place:
    """One partition, and where it is."""

    view: ClusterView
    topic: TopicInfo
    partition: int

    @property
    def key(self) -> tuple[int, int]:
        """Which partition."""
        return self.topic.id, self.partition

    @property
    def replicas(self) -> tuple[str, ...]:
        return self.topic.replicas[self.partition]

    @property
    def isr(self) -> tuple[str, ...]:
        return self.topic.isrs[self.partition]

    @property
    def bound_for(self) -> tuple[str, ...]:
        """Where it will be if nothing else is planned."""
        return self.topic.target(self.partition) or self.replicas

    @property
    def copies(self) -> int:
        """How many there should be. Only a topic that says so gets fewer than it has."""
        explicit = self.topic.settings.get("replication")
        return explicit or max(len(self.replicas), self.view.settings.get("replication", 1))

    @property
    def enough(self) -> int:
        """With fewer copies it must not end."""
        return min(self.copies, len(self.bound_for))

    def best(self, racks: Mapping[str, str]) -> tuple[str, ...]:
        """Where it would be had it been made on these nodes."""
        return place(self.topic.id, self.partition, racks, self.copies)

    def to(self, target: tuple[str, ...]) -> Move:
        return Move(self.topic.name, self.partition, target)

    def altered(self, replicas: tuple[str, ...], isr: tuple[str, ...]) -> PartitionChange:
        """Led by the first of new replicas."""
        name, p, version = self.topic.name, self.partition, self.topic.versions[self.partition]
        return PartitionChange(name, p, version, replicas[0], replicas, isr, anew=True)


def _places(view: ClusterView) -> Iterator[_Place]:
    for topic in view.topics.values():
        for p in range(topic.partitions):
            yield _Place(view, topic, p)


def homes(view: ClusterView) -> dict[str, str]:
    """The rack of every node that may be given partitions."""
    return {n.node: n.rack for n in view.nodes.values() if n.state is NodeState.ALIVE}


def needed_moves(view: ClusterView, gone: Collection[str] = ()) -> list[Move]:
    """The moves that nodes to be drained and the topics' replication ask for, if not planned yet.

    `gone`: nodes that were away for so long that nothing new should go there after all.
    """
    racks = homes(view)
    draining = {n.node for n in view.nodes.values() if n.state is NodeState.DRAINING}
    moves = []
    for one in _places(view):
        # Who comes and is not there yet need not be waited for.
        lost = {node for node in gone if node not in one.isr and one.topic.target(one.partition)}
        target = _without(one, draining | lost, racks)
        # With too few nodes to go to, a node that is drained keeps its copies.
        if one.replicas and target != one.bound_for and len(target) >= one.enough:
            moves.append(one.to(target))
    return moves


def _without(one: _Place, leaving: Collection[str], racks: Mapping[str, str]) -> tuple[str, ...]:
    """Where a partition should be if these nodes are to have nothing, and new ones are of `racks`."""
    stays = tuple(node for node in one.bound_for if node not in leaving)
    if stays == one.bound_for and len(stays) == one.copies:
        return stays  # As nearly always, and found without choosing among all nodes.
    if len(stays) > one.copies:
        return _fewer(one, stays)
    nodes = one.view.nodes
    known = {node: nodes[node].rack for node in stays} | {
        node: rack for node, rack in racks.items() if node not in leaving
    }
    new = list(extended(one.topic.id, one.partition, known, stays, one.copies)[len(stays) :])
    # They take the places of those that go, so the leaders stay as evenly spread.
    filled = [node if node in stays else new.pop(0) if new else "" for node in one.bound_for]
    return tuple(node for node in [*filled, *new] if node)


def _fewer(one: _Place, stays: tuple[str, ...]) -> tuple[str, ...]:
    """Who is not in sync goes first, then the least preferred; the leader never."""
    spare = sorted(
        (node for node in stays if node != one.topic.leaders[one.partition]),
        key=lambda node: (node in one.isr, -stays.index(node)),
    )
    dropped = set(spare[: len(stays) - one.copies])
    return tuple(node for node in stays if node not in dropped)


def rebalanced(view: ClusterView) -> list[Move]:
    """The moves to where all partitions would be, had they been made on the nodes there are now.

    By rendezvous hashing nothing moves that need not: a new node gets its share, and no two old ones
    exchange anything. What has one copy moves until shares are even.
    """
    racks = homes(view)
    even = _evened(view, racks)
    targets = [(one, even.get(one.key) or one.best(racks)) for one in _places(view) if one.replicas]
    return [
        one.to(target)
        for one, target in targets
        if target != one.bound_for and len(target) >= min(one.copies, len(one.replicas))
    ]


def _evened(view: ClusterView, racks: Collection[str]) -> dict[tuple[int, int], tuple[str, ...]]:
    """Homes of the partitions of topics with one copy each."""
    found: dict[tuple[int, int], tuple[str, ...]] = {}
    for topic in view.topics.values():
        places = [_Place(view, topic, p) for p in range(topic.partitions)]
        if racks and all(one.copies == len(one.bound_for) == 1 for one in places):
            new = evenly(topic.id, [one.bound_for[0] for one in places], racks)
            found.update({one.key: (node,) for one, node in zip(places, new, strict=True)})
    return found


def first_homes(view: ClusterView, willing: Collection[str]) -> list[PartitionChange]:
    """Places for partitions that were made when there was no node, and so are empty."""
    racks = {node: rack for node, rack in homes(view).items() if node in willing}
    empty = [(one, one.best(racks)) for one in _places(view) if not one.replicas]
    return [one.altered(placed, placed) for one, placed in empty if placed]


def immovable(view: ClusterView, node: str) -> TopicInfo | None:
    """A topic of whose copies a node could not give one away if it were drained; None: it could all."""
    racks = homes(view)
    for one in _places(view):
        if node in one.bound_for and len(_without(one, {node}, racks)) < one.enough:
            return one.topic
    return None


def evacuated(view: ClusterView, node: str) -> tuple[list[Move], list[PartitionChange]]:
    """What gets a node that is gone for good out of everything, however few copies remain.

    The changes are of partitions of which it alone has what was acknowledged: that is lost.
    """
    racks = {name: rack for name, rack in homes(view).items() if name != node}
    moves, losses = [], []
    for one in _places(view):
        if node not in {*one.replicas, *one.bound_for}:
            continue
        if set(one.isr) - {node}:
            moves.append(one.to(_without(one, {node}, racks)))
        elif heirs := _heirs(one, node, racks):
            losses.append(replace(one.altered(heirs, heirs[:1]), unclean=True))
    return moves, losses


def _heirs(one: _Place, node: str, racks: Mapping[str, str]) -> tuple[str, ...]:
    """Old copies rather than none at all."""
    rest = tuple(other for other in one.replicas if other != node and other in racks)
    return rest or one.best(racks)


def holdings(view: ClusterView, node: str) -> int:
    """How many partitions a node has copies of."""
    return sum(node in one.replicas for one in _places(view))


def unfinished(view: ClusterView) -> int:
    """How many partitions are on their way to somewhere else."""
    return sum(bool(target) for topic in view.topics.values() for target in topic.targets)

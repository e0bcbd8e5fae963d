"""Who should vote (pure): three nodes, or five of five or more; never an even number for long."""

from __future__ import annotations

from collections import Counter

from chronosdb.node.controller.fitness import Fitness
from chronosdb.raft import ClusterView

_FEW, _MANY = 3, 5


def next_voter(view: ClusterView, fitness: Fitness, most: int = 0) -> str | None:
    """The node that should be given a vote now, or None; `most`: voters there may be, 0: any number."""
    voters = set(view.voters)
    if not voters or 0 < most <= len(voters) or not _should_grow(view, fitness, voters):
        return None
    used = Counter(view.nodes[node].rack for node in voters if node in view.nodes)
    candidates = sorted(fitness.willing - voters)
    return min(
        candidates,
        key=lambda node: used[view.nodes[node].rack] if view.nodes[node].rack else 0,
        default=None,
    )


def _should_grow(view: ClusterView, fitness: Fitness, voters: set[str]) -> bool:
    nodes = sum(
        node.node in voters or node.node in fitness.willing
        for node in view.nodes.values()
        if not node.has_left
    )
    wanted = min(nodes, _FEW) if nodes < _MANY else _MANY
    if len(voters) % 2 == 0:
        return len(voters) < _MANY
    # One more than an odd number only makes the majority larger: not while a voter is missing.
    return len(voters) < wanted and voters <= fitness.able

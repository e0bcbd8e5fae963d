"""A cluster that starts: nodes that are about to be there are waited for a little (pure).

Whoever has opened its copies first could lead everything. It would have to hand most of it back right after,
and each handover costs as much as an election, and a copy opened anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from chronosdb.node.controller.fitness import Fitness
from chronosdb.node.controller.liveness import Liveness
from chronosdb.node.controller.seats import Seat
from chronosdb.raft import ClusterView

#: A cluster starts as long as all that are there have come within this time.
_STARTS_S: Final = 30.0
#: Nobody is waited for longer after whoever came last.
_PATIENCE_S: Final = 5.0


def awaited(
    view: ClusterView,
    fitness: Fitness,
    liveness: Liveness,
    reaches: Callable[[str], bool],
    now_s: float,
) -> frozenset[str]:
    """Nodes that are up and were never heard, while a cluster starts; one that serves waits for nobody."""
    ages_s = [now_s - heard.since_s for n in fitness.able if (heard := liveness.last(n))]
    if not ages_s or max(ages_s) > _STARTS_S or min(ages_s) > _PATIENCE_S:
        return frozenset()
    return frozenset(
        node.node
        for node in view.nodes.values()
        # Whoever was heard and fell silent does not open its copies: others are to lead at once.
        if not node.has_left and not liveness.last(node.node) and reaches(node.node)
    )


def can_wait(seat: Seat, nodes: Collection[str]) -> bool:
    """Whether a seat is better left to one of these than given to somebody else first."""
    preferred = seat.wanted or seat.replicas[0]
    return preferred in nodes and preferred in seat.isr

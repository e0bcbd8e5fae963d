"""Who leads which partition. Pure, and a replicated rule: every replica must place alike."""

from __future__ import annotations

from collections.abc import Iterable

from chronosdb.raft.view import NOBODY


def spread(partitions: int, nodes: Iterable[str], topic_id: int) -> tuple[str, ...]:
    """A leader for each partition: round robin over the nodes.

    It starts at another node for each topic, so that many topics of one partition spread too.
    Without nodes nobody leads, until a node takes over what has no leader (`BumpEpochs`).
    """
    assert partitions >= 1, partitions
    ring = sorted(nodes) or [NOBODY]
    return tuple(ring[(topic_id + p) % len(ring)] for p in range(partitions))

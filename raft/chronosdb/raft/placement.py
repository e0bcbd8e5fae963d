"""Which nodes hold which partition. Pure, and a replicated rule: every replica must place alike.

Rendezvous hashing: each partition ranks all nodes by a hash of its own, and takes the first. A node
that comes or goes changes only the partitions that it enters or leaves, and those by one replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b


def place(
    topic_id: int, partition: int, racks: Mapping[str, str], replicas: int
) -> tuple[str, ...]:
    """Up to `replicas` of the nodes in `racks` (node → rack), the preferred leader first.

    No rack gets a second replica before every rack has one, and so on; a node without a rack ("")
    shares its fate with nobody.
    """
    assert replicas >= 1, replicas
    scores = {node: _score(topic_id, partition, node) for node in racks}
    ranked = sorted(racks, key=lambda node: (scores[node], node), reverse=True)
    taken: dict[str, int] = {}
    rounds: dict[str, int] = {}
    for node in ranked:
        rack = racks[node] and f"rack {racks[node]}"
        rounds[node] = taken.get(rack, 0) if rack else 0
        taken[rack] = rounds[node] + 1
    # `sorted` is stable: within a round the order of the scores stays.
    return tuple(sorted(ranked, key=rounds.__getitem__)[:replicas])


def _score(topic_id: int, partition: int, node: str) -> bytes:
    return blake2b(f"{topic_id}/{partition}/{node}".encode(), digest_size=8).digest()

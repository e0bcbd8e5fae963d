"""Which nodes hold which partition. Pure, and a replicated rule: every replica must place alike.

Rendezvous hashing: each partition ranks all nodes by a hash of its own, and takes the first. A node
that comes or goes changes only the partitions that it enters or leaves, and those by one replica.
Where there is one copy only, shares are even.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b


def place(
    topic_id: int, partition: int, racks: Mapping[str, str], replicas: int
) -> tuple[str, ...]:
    """Up to `replicas` of the nodes in `racks` (node → rack), the preferred leader first.

    No rack gets a second replica before every rack has one, and so on; a node without a rack ("")
    shares its fate with nobody.
    """
    assert replicas >= 1, replicas
    return extended(topic_id, partition, racks, (), replicas)


def extended(
    topic_id: int,
    partition: int,
    racks: Mapping[str, str],
    kept: Sequence[str],
    replicas: int,
) -> tuple[str, ...]:
    """`kept`, nodes of `racks`, and as many others as make it `replicas`, or as there are.

    Those others that `place` would prefer, in racks that have the fewest so far.
    """
    scores = {node: _score(topic_id, partition, node) for node in racks}
    others = sorted(racks.keys() - set(kept), key=lambda n: (scores[n], n), reverse=True)
    chosen = list(kept)
    used = Counter(racks[node] for node in chosen)
    while others and len(chosen) < replicas:
        # A node without a rack is in one of its own. `min` takes the first, the best, of equals.
        node = min(others, key=lambda n: used[racks[n]] if racks[n] else 0)
        others.remove(node)
        chosen.append(node)
        used[racks[node]] += 1
    return tuple(chosen)


def evenly(topic_id: int, held: Sequence[str], nodes: Collection[str]) -> tuple[str, ...]:
    """One node for each partition of a topic without further copies, no node with two more than another.

    `held` says who has each now, "" where nobody does: it keeps as much of it as its share allows.
    Chance alone, which is good enough for where copies are, would give one of two nodes six
    partitions of eight, and that node all the work of them.
    """
    assert nodes, "nobody to hold anything"
    scores = {(p, node): _score(topic_id, p, node) for p in range(len(held)) for node in nodes}
    room = _shares(topic_id, held, nodes)
    chosen = [""] * len(held)
    keepers = sorted(
        (p for p, node in enumerate(held) if node in nodes), key=lambda p: scores[p, held[p]]
    )
    for p in reversed(keepers):
        if room[held[p]]:
            chosen[p] = held[p]
            room[held[p]] -= 1
    for p in range(len(held)):
        if not chosen[p]:
            chosen[p] = max((n for n in nodes if room[n]), key=lambda n: (scores[p, n], n))
            room[chosen[p]] -= 1
    return tuple(chosen)


def _shares(topic_id: int, held: Sequence[str], nodes: Collection[str]) -> dict[str, int]:
    """How many each may have; what is left over goes to those who have most, or whom chance picks."""
    share, over = divmod(len(held), len(nodes))
    have = Counter(held)
    by_claim = sorted(
        nodes, key=lambda n: (have[n], _score(topic_id, len(held), n), n), reverse=True
    )
    return {node: share + (number < over) for number, node in enumerate(by_claim)}


def _score(topic_id: int, partition: int, node: str) -> bytes:
    return blake2b(f"{topic_id}/{partition}/{node}".encode(), digest_size=8).digest()

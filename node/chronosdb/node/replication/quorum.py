"""What is committed, and who may count for it (pure).

The *in-sync replicas* (ISR) of a partition are in the metadata. Committed is what a quorum of them has on
disk, the leader's among them; the controller elects with so many of them that every quorum is
represented. While a change of the ISR is on its way nobody knows which of the two the next election
will see: both must agree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def quorum(size: int) -> int:
    """How many of so many in-sync replicas must have what is committed."""
    return size // 2 + 1


def default_min_insync(replication: int) -> int:
    """How small the ISR may become, unless the topic says otherwise: two failures lose nothing of three."""
    return 1 if replication <= 2 else replication // 2 + 1


def watermark(isrs: Sequence[Collection[str]], synced: Mapping[str, int], leader: str) -> int:
    """Up to which lsn every one of these ISRs has a quorum; 0: nothing.

    `synced` says how far each node's log is known to be the leader's, and durable.
    """
    return min(synced.get(leader, 0), *(_reached(isr, synced) for isr in isrs))


def everywhere(isrs: Sequence[Collection[str]], synced: Mapping[str, int]) -> int:
    """Up to which lsn all in-sync replicas have the log."""
    return min(synced.get(node, 0) for isr in isrs for node in isr)


def holds(isr: Collection[str], synced: Mapping[str, int], lsn: int) -> bool:
    """Whether a quorum of this ISR has everything below `lsn`."""
    return _reached(isr, synced) >= lsn


def shrunk(
    isr: Sequence[str],
    lagging: Sequence[str],
    synced: Mapping[str, int],
    high_watermark: int,
    min_insync: int,
) -> tuple[str, ...]:
    """The ISR without those of `lagging`, the worst first, that can be spared.

    Nobody can who leaves the rest without a quorum that has all that is committed.
    """
    kept = tuple(isr)
    for node in lagging:
        rest = tuple(one for one in kept if one != node)
        if len(rest) >= max(1, min_insync) and holds(rest, synced, high_watermark):
            kept = rest
    return kept


def grown(
    isr: Sequence[str],
    replicas: Sequence[str],
    level: Collection[str],
    synced: Mapping[str, int],
    high_watermark: int,
) -> tuple[str, ...]:
    """The ISR with one of `level` more, in the order of `replicas`: one at a time."""
    for node in replicas:
        if node not in isr and node in level and synced.get(node, 0) >= high_watermark:
            larger = tuple(one for one in replicas if one in isr or one == node)
            if len(larger) == len(isr) + 1 and holds(larger, synced, high_watermark):
                return larger
    return tuple(isr)


def _reached(isr: Collection[str], synced: Mapping[str, int]) -> int:
    ends = sorted((synced.get(node, 0) for node in isr), reverse=True)
    return ends[quorum(len(ends)) - 1]

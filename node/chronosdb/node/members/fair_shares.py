"""Which member reads which partition, when not every member can reach every leader (pure).

A member subscribes at each node that leads partitions of its topic. One that has not come to a node
for long, though it is at others, may never come: what that node leads goes to those who did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from chronosdb.sched import assign


def fair_shares(
    leaders: Sequence[str],
    members: Collection[str],
    current: Mapping[int, str],
    missing: Mapping[str, Collection[str]],
) -> dict[int, str]:
    """The owner of each partition, moved as little as possible.

    Partitions whose leaders the same members can reach are shared evenly. What no member can reach
    is shared by all: one of them may come yet. Equal arguments give equal results, and a result as
    `current` gives itself again.

    Args:
        leaders: of each partition, the node.
        members: all of the group, without repetition; with none, nothing is assigned.
        current: the assignment so far.
        missing: by node, the members that are not there and not waited for any more.
    """
    alike: dict[frozenset[str], list[int]] = {}
    everyone = frozenset(members)
    for partition, leader in enumerate(leaders):
        reach = everyone.difference(missing.get(leader, ())) or everyone
        alike.setdefault(reach, []).append(partition)
    shares: dict[int, str] = {}
    for reach, partitions in alike.items():
        shares |= assign(partitions, sorted(reach), current)
    return shares

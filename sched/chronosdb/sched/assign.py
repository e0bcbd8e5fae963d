"""Which member of an ordered group reads which partition: even, and moved as little as possible."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def assign(
    partitions: Sequence[int], members: Sequence[str], current: Mapping[int, str]
) -> dict[int, str]:
    """Give every partition a member.

    The members' shares differ by at most one, as few partitions as possible leave the member
    that `current` names, and equal arguments (in any order) give equal results.

    Args:
        partitions: what to hand out, without repetition.
        members: who is there, without repetition; with none, nothing is assigned.
        current: the assignment so far; partitions and members that are gone are ignored.
    """
    assert len(set(partitions)) == len(partitions)
    assert len(set(members)) == len(members)
    kept: dict[str, list[int]] = {member: [] for member in sorted(members)}
    if not kept:
        return {}
    for partition in sorted(partitions):
        if current.get(partition) in kept:
            kept[current[partition]].append(partition)
    assigned: dict[int, str] = {}
    vacancies: list[str] = []
    for member, share in _shares(kept, len(partitions)):
        assigned.update(zip(kept[member][:share], repeat(member), strict=False))
        vacancies += [member] * (share - len(kept[member]))
    homeless = [partition for partition in sorted(partitions) if partition not in assigned]
    return assigned | dict(zip(homeless, vacancies, strict=True))


def _shares(kept: Mapping[str, Sequence[int]], partitions: int) -> list[tuple[str, int]]:
    """How many partitions each member gets: one more for those that hold most already."""
    least, one_more = divmod(partitions, len(kept))
    by_holding = sorted(kept, key=lambda member: (-len(kept[member]), member))
    return [(member, least + (rank < one_more)) for rank, member in enumerate(by_holding)]

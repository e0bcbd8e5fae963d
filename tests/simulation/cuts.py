"""Which ways between machines are cut when a network falls apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from chronosdb.testing.chance import Random

#: From one machine to another.
Way = tuple[str, str]


def cut_between(
    nodes: Sequence[str], others: Sequence[str], important: Sequence[str], chance: Random
) -> tuple[str, list[Way]]:
    """What happens, for people, and the ways that are cut.

    `others` are machines that stay with one of the sides; `important`, nodes that somebody depends on.
    """
    shape = chance.choice(("isolated", "deaf", "mute", "halves", "ring", "chaos"))
    victim = chance.choice(important or nodes) if chance.random() < 0.7 else chance.choice(nodes)
    everybody = [*nodes, *others]
    if shape == "ring":
        return f"{shape} {nodes}", _ring(nodes)
    if shape == "halves":
        side = set(chance.sample(everybody, len(everybody) // 2))
        ways = [way for way in permutations(everybody, 2) if (way[0] in side) != (way[1] in side)]
        return f"{shape} {sorted(side)}", _of_nodes(ways, nodes)
    if shape == "chaos":
        ways = [way for way in permutations(nodes, 2) if chance.random() < 0.4]
        return f"{shape} {ways}", ways
    into = [(one, victim) for one in everybody if one != victim]
    out = [(victim, one) for one in everybody if one != victim]
    return f"{shape} {victim}", {"isolated": into + out, "deaf": into, "mute": out}[shape]


def _ring(nodes: Sequence[str]) -> list[Way]:
    """Each node has its neighbours in a circle; of three, which all are neighbours, two lose each other."""
    if len(nodes) <= 3:
        return [(nodes[0], nodes[-1]), (nodes[-1], nodes[0])]
    size = len(nodes)
    distant = [
        (i, j) for i, j in permutations(range(size), 2) if (i - j) % size not in (1, size - 1)
    ]
    return [(nodes[i], nodes[j]) for i, j in distant]


def _of_nodes(ways: Sequence[Way], nodes: Sequence[str]) -> list[Way]:
    """Those with a node at one end: nobody else talks with each other."""
    return [way for way in ways if way[0] in nodes or way[1] in nodes]

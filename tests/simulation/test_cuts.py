"""Which ways are cut when a network falls apart."""

from __future__ import annotations

import pytest

from chronosdb.testing.chance import Random
from tests.simulation.cuts import cut_between

NODES = ["a", "b", "c"]


def cuts(shape: str, nodes: list[str], others: list[str]) -> list[set[tuple[str, str]]]:
    """Many cuts of this shape."""
    drawn = (cut_between(nodes, others, ["b"], Random(seed)) for seed in range(200))
    return [set(ways) for what, ways in drawn if what.split()[0] == shape]


@pytest.mark.parametrize("shape", ["isolated", "deaf", "mute", "halves", "ring", "chaos"])
def test_only_ways_from_or_to_a_node_are_cut(shape: str) -> None:
    """Clients do not talk with each other, and nobody with himself."""
    for ways in cuts(shape, NODES, ["client"]):
        assert all({one, other} & set(NODES) and one != other for one, other in ways)


def test_who_is_isolated_neither_hears_nor_speaks() -> None:
    """Most of the time it is somebody who matters."""
    victims = []
    for ways in cuts("isolated", NODES, ["client"]):
        [victim] = [node for node in NODES if all(node in way for way in ways)]
        assert ways == {
            way
            for other in [*NODES, "client"]
            if other != victim
            for way in ((victim, other), (other, victim))
        }
        victims.append(victim)
    assert victims.count("b") > len(victims) / 2


def test_halves_cannot_reach_each_other_and_each_is_whole() -> None:
    for ways in cuts("halves", NODES, []):
        assert ways == {(other, one) for one, other in ways}
        assert len(ways) == 4


def test_in_a_ring_everybody_has_two_neighbours_and_three_become_a_chain() -> None:
    five = ["a", "b", "c", "d", "e"]
    assert cuts("ring", NODES, [])[0] == {("a", "c"), ("c", "a")}
    ways = cuts("ring", five, [])[0]
    assert {len([way for way in ways if way[0] == node]) for node in five} == {2}
    assert ("a", "b") not in ways
    assert ("e", "a") not in ways

"""Rendezvous placement: even, over racks, and nothing moves that need not."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.raft.placement import evenly, extended, place

_racks = st.dictionaries(
    st.sampled_from([f"n{n}" for n in range(9)]),
    st.sampled_from(["", "r1", "r2", "r3"]),
    min_size=1,
)
_partitions = st.tuples(st.integers(1, 50), st.integers(0, 50))


GOLDEN = [("n4", "n1", "n3"), ("n3", "n4", "n1"), ("n1", "n4", "n3"), ("n2", "n4", "n3")]


@given(_racks, _partitions, st.integers(1, 5))
@settings(deadline=None)
def test_it_gives_as_many_different_nodes_as_it_can(
    racks: dict[str, str], where: tuple[int, int], replicas: int
) -> None:
    """The same ones however the nodes are listed."""
    placed = place(*where, racks, replicas)
    assert len(set(placed)) == len(placed) == min(replicas, len(racks))
    assert set(placed) <= racks.keys()
    assert placed == place(*where, dict(reversed(racks.items())), replicas)


@given(_racks, _partitions, st.integers(1, 5))
@settings(deadline=None)
def test_racks_are_used_evenly(
    racks: dict[str, str], where: tuple[int, int], replicas: int
) -> None:
    """No rack has two more than one that still has nodes to give."""
    placed = place(*where, racks, replicas)
    used = Counter(racks[node] or node for node in placed)
    there = Counter(rack or node for node, rack in racks.items())
    for rack, count in there.items():
        if used[rack] < count:
            assert max(used.values()) <= used[rack] + 1


@given(_racks, _partitions, st.integers(1, 5), st.data())
@settings(deadline=None)
def test_a_node_that_goes_moves_only_what_it_held(
    racks: dict[str, str], where: tuple[int, int], replicas: int, data: st.DataObject
) -> None:
    """And of that, one replica; read backwards: a node that comes."""
    gone = data.draw(st.sampled_from(sorted(racks)))
    before = set(place(*where, racks, replicas))
    after = set(place(*where, {n: r for n, r in racks.items() if n != gone}, replicas))
    assert len(after - before) <= (gone in before)
    assert before - after <= {gone}


@given(_racks, _partitions, st.integers(1, 4))
@settings(deadline=None)
def test_one_replica_more_keeps_those_there_are(
    racks: dict[str, str], where: tuple[int, int], replicas: int
) -> None:
    """The preferred leader too."""
    fewer = place(*where, racks, replicas)
    assert place(*where, racks, replicas + 1)[: len(fewer)] == fewer


@given(_racks, _partitions, st.integers(1, 5), st.data())
@settings(deadline=None)
def test_what_is_kept_is_kept_and_the_rest_is_what_it_would_be(
    racks: dict[str, str], where: tuple[int, int], replicas: int, data: st.DataObject
) -> None:
    """A node that is lost is made up for, over racks; others stay, and come first."""
    kept = tuple(
        data.draw(st.lists(st.sampled_from(sorted(racks)), unique=True, max_size=replicas))
    )
    chosen = extended(*where, racks, kept, replicas)
    assert chosen[: len(kept)] == kept
    assert len(set(chosen)) == len(chosen) == min(replicas, len(racks))
    for node in chosen[len(kept) :]:
        before = Counter(racks[other] for other in chosen[: chosen.index(node)] if racks[other])
        passed = racks.keys() - set(chosen)
        assert all(before[racks[node]] <= before[racks[other]] for other in passed if racks[node])


def test_leaders_are_spread_evenly() -> None:
    """Within what chance allows for 3,000 partitions on five nodes."""
    racks = {f"n{n}": "" for n in range(5)}
    leaders = Counter(place(t, p, racks, 3)[0] for t in range(30) for p in range(100))
    assert all(500 < count < 700 for count in leaders.values())


def test_the_rule_is_what_it_was() -> None:
    """Every replica of every version must place alike: these are golden."""
    racks = {"n1": "r1", "n2": "r1", "n3": "r2", "n4": ""}
    assert [place(7, p, racks, 3) for p in range(4)] == GOLDEN


held = st.lists(st.sampled_from(["", "a", "b", "c", "gone"]), min_size=1, max_size=40)


@given(st.integers(1, 1000), held, st.sets(st.sampled_from("abcd"), min_size=1))
def test_single_copies_are_shared_evenly_and_stay_where_they_can(
    topic_id: int, before: list[str], nodes: set[str]
) -> None:
    """Shares differ by one at most; nobody gives anything away that has not more than its share."""
    after = evenly(topic_id, before, nodes)
    assert after == evenly(topic_id, before, sorted(nodes))
    counts = Counter(after)
    shares = [counts[node] for node in nodes]
    assert max(shares) - min(shares) <= 1
    for node in nodes:
        kept = sum(was == now == node for was, now in zip(before, after, strict=True))
        assert kept == min(before.count(node), counts[node])


def test_even_shares_stay_as_they_are() -> None:
    """A second look changes nothing; a node that comes takes from all others, and nothing else moves."""
    first = evenly(3, [""] * 12, list("abc"))
    assert evenly(3, first, list("abc")) == first
    grown = evenly(3, first, list("abcd"))
    assert {now for was, now in zip(first, grown, strict=True) if was != now} == {"d"}
    assert Counter(grown) == dict.fromkeys("abcd", 3)


def test_the_rule_of_single_copies_is_what_it_was() -> None:
    """Golden, for the same reason."""
    assert "".join(evenly(7, [""] * 8, ["a", "b"])) == "abbbbaaa"

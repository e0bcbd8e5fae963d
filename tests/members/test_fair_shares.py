"""Who reads which partition, when not everybody can reach every leader."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.node.members.fair_shares import fair_shares

NODES = ("n1", "n2", "n3")
MEMBERS = ("a", "b", "c", "d", "e")
leaders = st.lists(st.sampled_from([*NODES, ""]), min_size=1, max_size=24)
groups = st.sets(st.sampled_from(MEMBERS))
missing = st.dictionaries(st.sampled_from(NODES), groups)
assignments = st.dictionaries(st.integers(0, 24), st.sampled_from(MEMBERS))


@settings(max_examples=60, deadline=None)
@given(leaders, groups, assignments, missing)
def test_every_partition_has_one_owner_who_can_reach_its_leader_if_anybody_can(
    leaders: list[str], members: set[str], current: dict[int, str], missing: dict[str, set[str]]
) -> None:
    """Without members there is none."""
    shares = fair_shares(leaders, members, current, missing)
    assert sorted(shares) == (list(range(len(leaders))) if members else [])
    for partition, owner in shares.items():
        near = members - missing.get(leaders[partition], set())
        assert owner in (near or members)


@settings(max_examples=60, deadline=None)
@given(leaders, groups, assignments, missing)
def test_an_assignment_that_was_found_right_is_found_right_again(
    leaders: list[str], members: set[str], current: dict[int, str], missing: dict[str, set[str]]
) -> None:
    """Or the metadata would be told of one for ever."""
    shares = fair_shares(leaders, members, current, missing)
    assert fair_shares(leaders, members, shares, missing) == shares


@settings(max_examples=60, deadline=None)
@given(leaders, groups.filter(bool), assignments)
def test_shares_are_even_when_everybody_is_everywhere(
    leaders: list[str], members: set[str], current: dict[int, str]
) -> None:
    """They differ by one at most."""
    shares = Counter(fair_shares(leaders, members, current, {}).values())
    counts = [shares[member] for member in members]
    assert max(counts) - min(counts) <= 1


def test_what_one_member_cannot_reach_is_shared_by_the_others() -> None:
    """And what all can reach, by all."""
    shares = fair_shares(["n1", "n1", "n2", "n2"], {"a", "b", "c"}, {}, {"n2": {"a"}})
    assert {shares[2], shares[3]} == {"b", "c"}
    assert len({shares[0], shares[1]}) == 2

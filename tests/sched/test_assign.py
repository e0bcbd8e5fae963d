"""Assignment: even, sticky, deterministic."""

from __future__ import annotations

from collections import Counter
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.sched import assign

names = st.lists(st.sampled_from("abcdefg"), unique=True)
partitions = st.lists(st.integers(0, 30), unique=True)
current = st.dictionaries(st.integers(0, 30), st.sampled_from("abcdefg"))


@given(partitions, names.filter(bool), current)
def test_every_partition_has_a_member_and_shares_differ_by_at_most_one(
    partitions: list[int], members: list[str], current: dict[int, str]
) -> None:
    result = assign(partitions, members, current)
    assert result.keys() == set(partitions)
    shares = Counter(result.values())
    counts = [shares[member] for member in members]
    assert sum(counts) == len(partitions)
    assert max(counts) - min(counts) <= 1


@given(
    st.integers(0, 6).map(range).map(list),
    st.sampled_from([["a"], ["a", "b"], ["a", "b", "c"]]),
    st.dictionaries(st.integers(0, 6), st.sampled_from("abcx")),
)
@settings(max_examples=60, deadline=None)
def test_no_even_assignment_moves_fewer_partitions(
    partitions: list[int], members: list[str], current: dict[int, str]
) -> None:
    def moved(owners: tuple[str, ...]) -> int:
        return sum(current.get(p) != owner for p, owner in zip(partitions, owners, strict=True))

    def even(owners: tuple[str, ...]) -> bool:
        counts = [owners.count(member) for member in members]
        return max(counts) - min(counts) <= 1

    result = assign(partitions, members, current)
    owners = tuple(result[partition] for partition in partitions)
    every = product(members, repeat=len(partitions))
    assert moved(owners) == min(moved(other) for other in every if even(other))


@given(partitions, names, current)
def test_the_order_of_the_arguments_does_not_matter(
    partitions: list[int], members: list[str], current: dict[int, str]
) -> None:
    result = assign(partitions, members, current)
    backwards = dict(reversed(current.items()))
    assert assign(partitions[::-1], members[::-1], backwards) == result


@given(partitions, names)
def test_a_second_assignment_changes_nothing(partitions: list[int], members: list[str]) -> None:
    result = assign(partitions, members, {})
    assert assign(partitions, members, result) == result


def test_without_members_nothing_is_assigned() -> None:
    assert assign([1, 2], [], {1: "a"}) == {}

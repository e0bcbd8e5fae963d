"""Who votes, as the log has it: entry by entry, back and forth, and across snapshots."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.raft import ChangeVoters, Command, CreateTopic, Request, codec
from chronosdb.raft.encoding import encode
from chronosdb.raft.membership import Membership
from chronosdb.raft.record import Entry
from chronosdb.raft.state import ClusterState
from chronosdb.raft.voters import Voters, change_problem

FIRST = Voters(0, ("a", "b", "c"))


def _entry(index: int, command: Command) -> Entry:
    blob = encode(Request("c", index, 1, command))
    return Entry(b"\x00" + codec.dumps((0, (blob,))), index, 1)


def _change(index: int, base: int, *voters: str) -> Entry:
    return _entry(index, ChangeVoters(voters, base))


def test_a_change_counts_from_its_entry_on() -> None:
    """Committed or not."""
    m = Membership(FIRST, [_change(2, 0, "a", "b", "c")])
    m.append(_change(3, 2, "a", "b", "c", "d"))
    m.append(_entry(4, CreateTopic("change_voters", 1)))
    m.append(_change(5, 3, "a", "b", "d"))
    assert m.current == Voters(5, ("a", "b", "d"))
    assert m.as_of(4).names == ("a", "b", "c", "d")
    assert m.as_of(1) == FIRST


def test_a_truncated_change_never_was() -> None:
    """The voters are those of the entry before."""
    m = Membership(FIRST, [_change(2, 0, "a", "b", "c"), _change(3, 2, "a", "b")])
    m.truncate_from(3)
    assert m.current == Voters(2, ("a", "b", "c"))
    m.truncate_from(1)
    assert m.current == FIRST


def test_a_snapshot_takes_the_place_of_the_log() -> None:
    """Entries that it contains say nothing new."""
    m = Membership(FIRST, [_change(2, 0, "a", "b", "c")])
    m.restart(Voters(8, ("x", "y")))
    m.append(_change(8, 2, "a", "b"))
    assert m.current == Voters(8, ("x", "y"))
    m.append(_change(9, 8, "x"))
    assert m.current == Voters(9, ("x",))


@pytest.mark.parametrize(
    ("voters", "base"),
    [
        (("a", "b", "c", "d"), 1),
        ((), 2),
        (("b", "a", "c"), 2),
        (("a", "a", "b", "c"), 2),
        (("a", "b", "d"), 2),
        (("a",), 2),
        (("a", "b", "c", "no/name"), 2),
        (tuple("abcdefgh"), 2),
    ],
)
def test_a_change_that_breaks_the_rule_has_no_effect(voters: tuple[str, ...], base: int) -> None:
    """Of another base, unsorted, empty, or more than one node at a time."""
    m = Membership(FIRST, [_change(2, 0, "a", "b", "c")])
    m.append(_change(3, base, *voters))
    assert m.current.index == 2
    assert change_problem(m.current, ChangeVoters(voters, base))


@pytest.mark.parametrize("command", [b"\x00change_voters", b"\x01", b"\x00\xc1change_voters"])
def test_entries_that_cannot_be_read_change_nothing(command: bytes) -> None:
    """They do not stop the reader."""
    m = Membership(FIRST, [Entry(command, 2, 1)])
    assert m.current == FIRST


_lists = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True)


@given(
    st.lists(st.tuples(_lists.map(sorted).map(tuple), st.integers(0, 12)), max_size=12),
    st.integers(0, 12),
)
@settings(deadline=None)
def test_the_reader_of_the_log_and_the_state_machine_always_agree(
    changes: list[tuple[tuple[str, ...], int]], split: int
) -> None:
    """One obeys at once and the other when it is committed, but both by one rule.

    The state may come from a snapshot in between; the reader may have lost and read entries again.
    """
    state, reader = ClusterState(), Membership(Voters(0, ("a",)))
    for index, (voters, base) in enumerate(changes, start=1):
        change = ChangeVoters(voters, base)
        state.apply(Request("c", index, 1, change), index)
        reader.append(_entry(index, change))
        if index == split:
            reader.truncate_from(index)
            reader.append(_entry(index, change))
            copy = ClusterState()
            copy.restore(state.to_plain())
            state = copy
    if state.view.voters:
        assert reader.current == Voters(state.view.voters_base, state.view.voters)
    else:
        assert reader.current.index == 0

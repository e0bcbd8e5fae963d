"""What is known of members from the reports of nodes, and for how long."""

from __future__ import annotations

from chronosdb.node.members.register import PATIENCE_S, SILENCE_S, Register
from chronosdb.node.members.reports import (
    Attached,
    Reception,
    Report,
    decode_reception,
    decode_report,
    encode_reception,
    encode_report,
)

KEY = ("t", "g")


def report(number: int, *members: str, life: int = 1) -> Report:
    return Report(life, number, [Attached(*KEY, list(members))])


def repeated(number: int, life: int = 1) -> Report:
    return Report(life, number, None)


def test_a_member_is_in_its_group_as_long_as_it_is_at_any_node() -> None:
    """However many there are."""
    register = Register()
    register.take("n1", report(1, "a", "b"), 0)
    register.take("n2", report(1, "b", "c"), 0)
    assert register.members(KEY) == {"a", "b", "c"}
    register.take("n2", report(2), 0)
    assert register.members(KEY) == {"a", "b"}
    register.take("n1", Report(1, 2, []), 0)
    assert (register.members(KEY), register.groups()) == (set(), [])


def test_a_report_is_repeated_by_its_number_alone() -> None:
    """Whoever does not know that number asks for all of it."""
    register = Register()
    assert register.take("n1", repeated(1), 0) is Reception.UNKNOWN
    assert register.take("n1", report(1, "a"), 0) is Reception.KNOWN
    assert register.take("n1", repeated(1), 0) is Reception.KNOWN
    assert register.take("n1", repeated(2), 0) is Reception.UNKNOWN
    assert register.take("n1", repeated(1, life=2), 0) is Reception.UNKNOWN


def test_a_report_that_was_overtaken_changes_nothing() -> None:
    """But the first of another life does, whatever its number."""
    register = Register()
    register.take("n1", report(5, "new"), 0)
    register.take("n1", report(4, "old"), 0)
    assert register.members(KEY) == {"new"}
    register.take("n1", report(1, "reborn", life=2), 0)
    assert register.members(KEY) == {"reborn"}


def test_a_node_that_falls_silent_has_nobody() -> None:
    """Nor has one that is known to be gone; one that repeats itself has them still."""
    register = Register()
    for node in ("n1", "n2", "n3"):
        register.take(node, report(1, node), 0)
    register.take("n2", repeated(1), SILENCE_S)
    register.take("n3", repeated(1), SILENCE_S)
    register.forget_silent(SILENCE_S + 0.1, gone=["n3"])
    assert register.members(KEY) == {"n2"}
    assert register.heard_of(["n2"])
    assert not register.heard_of(["n1", "n2"])


def test_it_says_whose_members_have_changed() -> None:
    """A report that says the same is no change."""
    register = Register()
    register.take("n1", report(1, "a"), 0)
    assert register.changed == {KEY}
    register.changed.clear()
    register.take("n1", report(2, "a"), 0)
    assert register.changed == set()


def test_who_does_not_come_is_waited_for_and_then_no_more() -> None:
    """Counted from when it was first missed; who came and left is missed anew."""
    register = Register()
    register.take("n1", report(1, "a", "b"), 0)
    register.take("n2", report(1, "a"), 0)
    leaders = ("n1", "n2", "unheard of")
    assert register.missing(KEY, leaders, 1) == {}
    assert register.missing(KEY, leaders, PATIENCE_S) == {}
    assert register.missing(KEY, leaders, 1 + PATIENCE_S) == {"n2": {"b"}}
    register.take("n2", report(2, "a", "b"), 20)
    assert register.missing(KEY, leaders, 20) == {}
    register.take("n2", report(3, "a"), 21)
    assert register.missing(KEY, leaders, 21) == {}


def test_reports_survive_the_wire() -> None:
    """And a reception that says nothing is none."""
    one = report(7, "a")
    assert decode_report(encode_report(one)) == one
    assert decode_report(encode_report(repeated(7))) == repeated(7)
    for reception in Reception:
        assert decode_reception(encode_reception(reception)) is reception
    for strange in (b"", b"\x09", b"\x00\x00"):
        assert decode_reception(strange) is Reception.NOT_MINE

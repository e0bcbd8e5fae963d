"""What is known of leaders, and whom to call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chronosdb.client import leaders as leaders_module
from chronosdb.client.addresses import MAX_ADDRESSES, Address, parse_addresses
from chronosdb.client.contacts import Contacts, address_of
from chronosdb.client.leaders import Leaders, Partition
from chronosdb.wire import messages as m


def described(leaders: Sequence[str], version: int = 0, topic: str = "t") -> m.TopicReply:
    info = m.TopicInfo(topic, len(leaders), {}, list(leaders), 0)
    return m.TopicReply(1, info, version=version)


def test_what_was_not_described_is_led_by_any_node() -> None:
    known = Leaders()
    assert known.of(Partition("t", 0)) == ""
    known.learn(described(["a", "b"]))
    assert [known.of(Partition("t", number)) for number in range(3)] == ["a", "b", ""]
    assert known.all("t") == ("a", "b")
    known.forget("t")
    assert known.all("t") == ()


def test_an_answer_from_an_older_view_changes_nothing() -> None:
    """One from the same view does: a node may not count them."""
    known = Leaders()
    assert known.learn(described(["a"], version=5))
    assert not known.learn(described(["b"], version=4))
    assert known.of(Partition("t", 0)) == "a"
    assert known.learn(described(["c"], version=5))
    assert not known.learn(described(["c"], version=6)), "no news"


def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaders_module, "MAX_KNOWN", 2)
    known = Leaders()
    for topic in ("t", "u", "v"):
        known.learn(described(["a"], topic=topic))
    assert [bool(known.all(topic)) for topic in ("t", "u", "v")] == [False, True, True]


def names(contacts: Contacts) -> list[str]:
    return [address.host for address in contacts.in_order()]


def test_nodes_that_were_heard_of_are_tried_after_those_given() -> None:
    contacts = Contacts(parse_addresses("a,b"))
    contacts.learn(["b:9000", "c:9000", "no address"])
    assert names(contacts) == ["a", "b", "c"]


def test_nodes_that_left_are_forgotten_but_not_those_given() -> None:
    contacts = Contacts(parse_addresses("a,b"))
    contacts.learn(["c:9000", "d:9000"])
    contacts.learn(["d:9000"])
    assert names(contacts) == ["a", "b", "d"]
    contacts.learn([])
    assert names(contacts) == ["a", "b", "d"], "a node that names none says nothing"


def test_whoever_failed_is_tried_last() -> None:
    contacts = Contacts(parse_addresses("a,b,c"))
    contacts.failed(Address("a", 9000))
    contacts.failed(Address("x", 9000))
    assert names(contacts) == ["b", "c", "a"]
    contacts.learn(["d:9000"])
    assert names(contacts) == ["b", "c", "a", "d"]


def test_there_are_never_too_many_contacts() -> None:
    contacts = Contacts(parse_addresses("a"))
    contacts.learn([f"n{i}:9000" for i in range(1000)])
    assert len(names(contacts)) == 1 + MAX_ADDRESSES


@pytest.mark.parametrize("text", ["", "a:b", "a,b", "a:0", "[::1", "x" * 300])
def test_what_is_no_address_is_none(text: str) -> None:
    assert address_of(text) is None


def test_an_address_is_one() -> None:
    assert address_of("[::1]:9001") == Address("::1", 9001)

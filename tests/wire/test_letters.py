"""The facts about a dead letter go into its headers, and come out again without a trace."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.wire.letters import Facts, dead_letter_topic, with_facts, without_facts

FACTS = Facts("bad", "billing", 3, "orders", 1, 7, "pay-42", 1_700_000_000_000)
AWKWARD = ["reason", "original.reason", "original.original.x", "original.", "undecodable", "offset"]

names = st.sampled_from(AWKWARD) | st.text(max_size=8)
values = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary()
nested = st.recursive(values, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@given(st.dictionaries(names, nested, max_size=8), st.integers(1, 3))
def test_headers_come_back_as_they_were(headers: dict[str, object], times: int) -> None:
    """Whatever their names, and however often the event has been a dead letter."""
    meta = msgspec.msgpack.encode(headers) if headers else b""
    letter = meta
    for _ in range(times):
        letter = with_facts(letter, FACTS)
        assert msgspec.msgpack.decode(letter).items() >= {"reason": "bad", "offset": 7}.items()
    for _ in range(times):
        facts, letter = without_facts(letter)
        assert facts == FACTS
    assert letter == meta


@given(st.binary(max_size=40))
def test_bytes_that_are_no_headers_come_back_too(meta: bytes) -> None:
    """They are carried as they are."""
    facts, back = without_facts(with_facts(meta, FACTS))
    assert facts == FACTS
    try:
        own = msgspec.msgpack.decode(meta, type=dict[str, object]) if meta else {}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        assert back == meta
    else:  # equal, if perhaps encoded in another way
        assert (msgspec.msgpack.decode(back) if back else {}) == own


@pytest.mark.parametrize(
    "meta",
    [
        b"",
        b"\xff",
        b"\x81\xa1a\x01",
        msgspec.msgpack.encode({**msgspec.to_builtins(FACTS), "attempts": "3"}),
    ],
    ids=["none", "no map", "no facts", "a fact of another type"],
)
def test_headers_without_facts_are_left_alone(meta: bytes) -> None:
    """An event that a user put into a dead-letter topic."""
    assert without_facts(meta) == (None, meta)


def test_the_dead_letter_topic_of_a_dead_letter_topic_is_itself() -> None:
    """There is no end of suffixes."""
    assert dead_letter_topic("orders") == dead_letter_topic("orders.dlq") == "orders.dlq"

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from chronosdb.wire import messages as m

KINDS = {*get_args(m.ClientMessage), *get_args(m.ServerMessage)}


def test_every_message_has_a_tag_of_its_own_in_one_byte() -> None:
    """A tag up to 127 is one byte, which is where the size check looks for it."""
    tags = [kind.__struct_config__.tag for kind in KINDS]
    assert len(set(tags)) == len(tags)
    assert all(0 < tag < 128 for tag in tags)


def test_every_message_fits_an_array_with_a_header_of_one_byte() -> None:
    assert all(len(kind.__struct_fields__) + 1 <= 15 for kind in KINDS)


def test_a_message_is_an_array_that_begins_with_its_tag() -> None:
    assert m.encode(m.Ping(7)) == bytes([0x92, 3, 7])


def test_fields_of_later_releases_at_the_end_are_skipped() -> None:
    assert m.decode_from_client(msgspec.msgpack.encode([3, 7, "new", {"a": [1]}])) == m.Ping(7)


def test_optional_fields_at_the_end_may_be_missing() -> None:
    assert m.decode_from_client(msgspec.msgpack.encode([1, 1, "old"])) == m.Hello(1, "old", None)


def decodes(*fields: object) -> bool:
    try:
        m.decode_from_client(msgspec.msgpack.encode(fields))
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "..a", "x" * 249])
def test_names_that_are_allowed(name: str) -> None:
    assert decodes(11, 1, name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b", "a/b", "é", "x" * 250, "a\n", "..\n", b"a", 1]
)
def test_names_that_are_not(name: object) -> None:
    assert not decodes(11, 1, name)


@pytest.mark.parametrize(
    "fields",
    [
        (3, -1),
        (3, 2**32),
        (3, True),
        (3, 1.5),
        (3,),
        (99, 1),
        (10, 1, "t", 0, {}),
        (10, 1, "t", 1025, {}),
        (10, 1, "t", 1, {"a": "b"}),
        (20, 1, "t", 1024, b""),
        (20, 1, "t", 0, "text"),
        (22, 1, "t", 0, b""),
        (22, 1, "t", 0, b"x" * 129),
        (30, 1, 1, "t", "g", "both", "earliest", 1),
        (30, 1, 1, "t", "g", "ordered\n", "earliest", 1),
        (30, 1, 1, "t", "g", "ordered", "first", 1),
        (30, 1, 1, "t", "g", "ordered", "latest\n", 1),
        (30, 1, 1, "t", "g", "ordered", "earliest", 1_000_001),
        (35, 1, 1, 0, 0, 0, None, ""),
        (35, 1, 1, 0, 0, 1, -1, ""),
        (35, 1, 1, 0, 0, 1, None, "x" * 1025),
        (36, 1, 1, 0, 0, 1, 12 * 3_600_000 + 1),
    ],
)
def test_values_out_of_range_are_refused_by_the_decoder(fields: tuple[object, ...]) -> None:
    assert not decodes(*fields)

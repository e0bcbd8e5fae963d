"""The bytes of commands: round trips, and strictness towards everything else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.raft import CreateTopic, PartitionChange, PutGroup, Request
from chronosdb.raft.encoding import SCHEMA, decode, encode
from chronosdb.raft.errors import UnsupportedCommandError
from tests.raft.strategies import requests

GOOD = [SCHEMA, "c", 1, 5, "create_topic", ["orders", 4, {"max_attempts": 3}]]


@given(requests())
@settings(max_examples=100, deadline=None)
def test_a_request_decodes_to_itself(request: Request) -> None:
    """Encoding loses nothing."""
    assert decode(encode(request)) == request


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_decode_or_are_unsupported(blob: bytes) -> None:
    """Decoding raises one error and no other."""
    with suppress(UnsupportedCommandError):
        decode(blob)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, SCHEMA + 1),
        (0, "1"),
        (1, ""),
        (1, "x" * 129),
        (1, b"c"),
        (2, 0),
        (2, -1),
        (2, True),
        (2, 1 << 53),
        (3, -1),
        (3, 1.5),
        (4, "drop_everything"),
        (4, None),
        (5, {}),
        (5, []),
        (5, ["orders", 4]),
        (5, ["orders", 4, {}, 1]),
        (5, ["orders", True, {}]),
        (5, ["orders", 4.0, {}]),
        (5, [b"orders", 4, {}]),
        (5, ["orders", 4, []]),
        (5, ["orders", 4, {"a": "b"}]),
        (5, ["orders", 4, {"a": True}]),
        (5, ["orders", 4, {b"a": 1}]),
    ],
)
def test_one_wrong_part_is_unsupported(place: int, value: object) -> None:
    """Types are exact, bounds hold, ops and schemas are known."""
    decode(msgpack.packb(GOOD))
    bad = [*GOOD[:place], value, *GOOD[place + 1 :]]
    with pytest.raises(UnsupportedCommandError):
        decode(msgpack.packb(bad))


def test_a_change_of_a_time_without_elections_is_read() -> None:
    """It ends before the word that says that its leader leads anew."""
    change = ["t", 0, 7, "n1", ["n1"], ["n1"], False]
    (read,) = _decoded("alter_partitions", [[change]]).changes
    assert read == PartitionChange("t", 0, 7, "n1", ("n1",), ("n1",))
    (read,) = _decoded("alter_partitions", [[[*change, True]]]).changes
    assert read.anew
    for bad in ([*change, 1], [*change, None], [*change, True, True], change[:-1]):
        with pytest.raises(UnsupportedCommandError):
            _decoded("alter_partitions", [[bad]])


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("plan_moves", [[["t", True, ["n1"]]]]),
        ("plan_moves", [[["t", 0, [1]]]]),
        ("plan_moves", [["t"]]),
        ("put_assignment", ["t", "g", 0, ["m"], [True]]),
        ("put_assignment", ["t", "g", 0, [b"m"], [0]]),
        ("begin_life", ["n1", "h:1", "1"]),
        ("set_replication", ["t", 1.0]),
    ],
)
def test_lists_are_as_strict(op: str, args: list[object]) -> None:
    """Down to what is in them."""
    with pytest.raises(UnsupportedCommandError):
        _decoded(op, args)


def _decoded(op: str, args: list[object]) -> Any:
    return decode(msgpack.packb([SCHEMA, "c", 1, 5, op, args])).command


@pytest.mark.parametrize(
    "blob", [msgpack.packb(GOOD) + b"\x00", b"\x91" * 2_000, b"\xd7\xff" + b"\xff" * 8]
)
def test_trailing_bytes_deep_nesting_and_timestamps_are_unsupported(blob: bytes) -> None:
    """What msgpack itself refuses, or turns into something odd, is refused alike."""
    with pytest.raises(UnsupportedCommandError):
        decode(blob)


def test_encoding_asserts_what_decoding_demands() -> None:
    """A request that no replica could read is a bug where it is made."""
    with pytest.raises(AssertionError):
        encode(Request("", 1, 0, CreateTopic("orders", 1)))
    with pytest.raises(AssertionError):
        encode(Request("c", 0, 0, PutGroup("orders", "g", "shared")))

"""docs/protocol.md says what the code does."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from chronosdb.wire import Role, Row, Session, encode_batch, limits, partition_for
from chronosdb.wire import messages as m
from chronosdb.wire.batch import NOW, RELATIVE
from chronosdb.wire.errors import ChronosError
from chronosdb.wire.frames import frame
from tests.tidy.repository import read
from tests.wire.protocol_rows import row_of, struct_of, structs_in

TEXT = read("docs/protocol.md")
BY_CLIENT = {*get_args(m.ClientMessage)}
BY_NODE = {*get_args(m.ServerMessage)}
KINDS = sorted(BY_CLIENT | BY_NODE, key=lambda kind: kind.__struct_config__.tag)


def hex_blocks() -> list[bytes]:
    """The bytes of the worked example, without the words beside them."""
    blocks = re.findall(r"```hex\n(.*?)```", TEXT, re.DOTALL)
    pairs = re.compile(r"^(?:[0-9a-f]{2}(?: {1,2}|$))+", re.MULTILINE)
    return [bytes.fromhex("".join(pairs.findall(block))) for block in blocks]


def table_under(heading: str) -> list[list[str]]:
    """The rows of the first table after a heading, as cells."""
    _, _, rest = TEXT.partition(f"\n## {heading}\n")
    rows = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert rows is not None
    return [[cell.strip(" `") for cell in row.split("|")[1:-1]] for row in rows[0].splitlines()[2:]]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_is_described_with_its_tag_its_fields_and_who_sends_it(
    kind: type[m.Message],
) -> None:
    sender = {(True, False): "C", (False, True): "N", (True, True): "both"}
    assert f"\n{row_of(kind)} {sender[kind in BY_CLIENT, kind in BY_NODE]} | " in TEXT


def test_no_other_message_is_described() -> None:
    assert [row[1] for row in table_under("Messages")] == [kind.__name__ for kind in KINDS]


def test_every_structure_is_described() -> None:
    for struct in structs_in({*KINDS}):
        assert f"\n{struct_of(struct)}\n" in TEXT


EXAMPLE = encode_batch(
    [
        Row(b"pay-42", 1_700_000_000_000, b"u7", b"\x81\xa1k\xa1v", b"hi"),
        Row(b"b", NOW, b"", b"", b"now", RELATIVE),
    ]
)

EXPIRING = encode_batch([Row(b"b", NOW, b"", b"", b"now", RELATIVE, 1_700_000_060_000)])


def test_the_worked_example_is_what_the_code_makes() -> None:
    publish = m.encode(m.Publish(7, "orders", 0, memoryview(EXAMPLE)))
    published = m.encode(m.Published(7, 40))
    assert hex_blocks() == [EXAMPLE, EXPIRING, frame(publish), frame(published)]


def test_the_limits_are_those_of_the_code() -> None:
    expected = {
        name: str(value) for name, value in vars(limits).items() if name[:4] in {"MAX_", "MIN_"}
    }
    assert {name: value for name, value, _ in table_under("Limits")} == expected


def test_the_messages_that_may_be_large_are_named() -> None:
    assert f"(all but tags {', '.join(map(str, sorted(m.LARGE_TAGS)))})" in TEXT


def test_the_error_codes_are_those_of_the_code() -> None:
    expected = {
        kind.code: "yes" if kind.retryable else "no" for kind in ChronosError.__subclasses__()
    }
    assert {row[0]: row[1] for row in table_under("Errors and retries")} == expected


def test_the_golden_vectors_of_routing_hold() -> None:
    for key, message_id, partitions, expected in table_under("Routing"):
        found = partition_for(key.encode() or None, message_id.encode(), int(partitions))
        assert found == int(expected)


def test_a_client_written_from_the_page_is_understood() -> None:
    """Hello and the worked example as plain bytes: a node reads them."""
    node = Session(Role.SERVER)
    node.receive_data(bytes.fromhex("00000006 93 01 01 a2 6d65"))
    assert node.next_message() == m.Hello(1, "me")
    node.send(m.Welcome(limits.PROTOCOL_VERSION, "c", "n", 0, limits.MAX_FRAME_BYTES))
    node.receive_data(hex_blocks()[2])
    assert node.next_message() == m.Publish(7, "orders", 0, memoryview(EXAMPLE))

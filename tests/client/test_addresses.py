from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.client.addresses import MAX_ADDRESSES, Address, parse_addresses
from chronosdb.wire.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", [("localhost", 9000)]),
        ("127.0.0.1:9001", [("127.0.0.1", 9001)]),
        ("[::1]", [("::1", 9000)]),
        ("[::1]:9002", [("::1", 9002)]),
        (" n1.example.org:1 , n2:65535 ", [("n1.example.org", 1), ("n2", 65535)]),
    ],
)
def test_addresses_are_read_as_people_write_them(
    text: str, expected: list[tuple[str, int]]
) -> None:
    assert list(parse_addresses(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ",", "a,,b", ":9000", "a:", "a:0", "a:65536", "a:-1", "a:9_0", "a:٣", "a b"),
        *("::1", "[::1", "::1]", "[a]:1", "[]:1", "[::1]9", "[::1]:", "a:1:2", "http://a:1"),
        *("a\nb", ".", "a..b", "x" * 64, "é:9000"),
    ],
)
def test_nonsense_is_refused_with_the_part_that_is_wrong(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"host:9000|port"):
        parse_addresses(text)


def test_the_number_of_addresses_is_bounded() -> None:
    assert len(parse_addresses(",".join(["a"] * MAX_ADDRESSES))) == MAX_ADDRESSES
    with pytest.raises(InvalidArgument, match="at most 64"):
        parse_addresses(",".join(["a"] * (MAX_ADDRESSES + 1)))


def test_an_address_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="must be a str, not int"):
        parse_addresses(9000)  # type: ignore[arg-type]


@given(st.text(max_size=40))
def test_any_text_gives_addresses_or_a_clear_error(text: str) -> None:
    """And what it gives reads back as the same addresses."""
    try:
        found = parse_addresses(text)
    except InvalidArgument:
        return
    assert parse_addresses(",".join(map(str, found))) == found


def test_an_address_is_written_as_it_is_read() -> None:
    assert [str(Address("::1", 1)), str(Address("a", 2))] == ["[::1]:1", "a:2"]

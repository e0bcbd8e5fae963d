from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.client.meta import decode_meta, encode_meta
from chronosdb.wire.errors import InvalidArgument, ProtocolError
from chronosdb.wire.event import MetaValue
from chronosdb.wire.limits import MAX_META_BYTES

VALUES = (
    st.text()
    | st.binary()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.none()
)


@given(st.dictionaries(st.text(max_size=20), VALUES, max_size=8))
def test_headers_come_back_as_they_were(meta: dict[str, MetaValue]) -> None:
    assert decode_meta(encode_meta(meta)) == meta


@pytest.mark.parametrize(
    "meta",
    [
        *({1: "a"}, {"a": [1]}, {"a": {}}, {"a": object()}, {"a": bytearray(1)}),
        *({"a": 2**64}, {"a": "\ud800"}, {"a": b"x" * MAX_META_BYTES}),
    ],
)
def test_headers_that_cannot_travel_are_refused(meta: Any) -> None:
    with pytest.raises(InvalidArgument, match="meta"):
        encode_meta(meta)


@given(st.binary(min_size=1, max_size=60))
def test_hostile_headers_give_a_map_or_a_protocol_error(raw: bytes) -> None:
    try:
        meta = decode_meta(raw)
    except ProtocolError:
        return
    assert all(isinstance(name, str) for name in meta)


def test_a_nesting_bomb_is_refused() -> None:
    with pytest.raises(ProtocolError):
        decode_meta(b"\x81\xa1a" + b"\x91" * 60_000)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.wire import partition_for


#: Also in docs/protocol.md. They never change: an event must be found where it was put.
@pytest.mark.parametrize(
    ("key", "message_id", "partitions", "expected"),
    [
        (None, b"pay-42", 1, 0),
        (None, b"pay-42", 4, 1),
        (None, b"123456789", 1024, 294),
        (b"123456789", b"pay-42", 1024, 294),
        (b"u7", b"pay-42", 4, 3),
    ],
)
def test_golden_vectors(
    key: bytes | None, message_id: bytes, partitions: int, expected: int
) -> None:
    assert partition_for(key, message_id, partitions) == expected


@given(st.none() | st.binary(min_size=1), st.binary(min_size=1), st.integers(1, 1024))
def test_every_event_has_one_partition_and_the_key_alone_decides_where_there_is_one(
    key: bytes | None, message_id: bytes, partitions: int
) -> None:
    found = partition_for(key, message_id, partitions)
    assert 0 <= found < partitions
    if key is not None:
        assert found == partition_for(key, b"another", partitions)

"""The cache of decoded records against a list: it finds what holds an offset, and stays within its size."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.node.partition.due import Due
from chronosdb.node.partition.reader import Fired, RecordCache, Shelf
from chronosdb.node.partition.records import Kind

LIMIT_BYTES = 100
SHELVES: list[Shelf] = [(b"one", Kind.FIRE), (b"two", Kind.FIRE)]


def fired(start: int, size: int) -> Fired:
    numbers = np.arange(start, start + size, dtype=np.int64)
    return Fired(Due(numbers, numbers), start)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SHELVES),
            st.integers(0, 9),
            st.sampled_from(["put", "find"]),
            st.sampled_from([1, 30, 60, 200]),
        ),
        max_size=60,
    )
)
@settings(max_examples=100, deadline=None)
def test_it_finds_what_was_used_last_and_forgets_what_was_used_first(
    story: list[tuple[Shelf, int, str, int]],
) -> None:
    """Records of one shelf never overlap; here each holds four of every five numbers."""
    cache = RecordCache(LIMIT_BYTES)
    #: What should be in it, the least recently used first.
    kept: dict[tuple[Shelf, int], tuple[Fired, int]] = {}
    for shelf, number, what, nbytes in story:
        key = (shelf, 5 * number)
        if what == "put":
            kept.setdefault(key, (fired(key[1], 4), nbytes))
            cache.put(shelf, kept[key][0], nbytes)
            while len(kept) > 1 and sum(size for _, size in kept.values()) > LIMIT_BYTES:
                del kept[next(iter(kept))]
        else:
            found = [cache.find(shelf, key[1] + i) for i in range(5)]
            expected = kept[key][0] if key in kept else None
            assert found == [expected] * 4 + [None]
            if key in kept:
                kept[key] = kept.pop(key)

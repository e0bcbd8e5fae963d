"""A row of timers gives back what was put into it, whatever times and offsets there are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.node.partition import timer_row
from chronosdb.node.partition.due import Due

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
OFFSET = st.integers(0, (1 << 63) - 1)


@given(rows=st.lists(st.tuples(INT64, OFFSET), min_size=1))
def test_every_timer_comes_back_in_its_place(rows: list[tuple[int, int]]) -> None:
    due = Due(*np.array(rows, dtype=np.int64).T.copy())
    row = timer_row.packed(due)
    again = timer_row.unpacked(row)
    assert list(zip(again.due_ms.tolist(), again.offsets.tolist(), strict=True)) == rows
    assert timer_row.count(row) == len(rows)


def test_a_slice_of_many_takes_six_bytes_for_a_timer() -> None:
    offsets = np.arange(5_000_000_000, 5_000_100_000, dtype=np.int64)
    times = 1_900_000_000_000 + offsets % (1 << 14)
    assert len(timer_row.packed(Due(times, offsets))) < 6.01 * len(offsets)

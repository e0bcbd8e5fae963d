from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.client.backoff import Backoff


def test_waits_grow_up_to_the_cap() -> None:
    waits = Backoff(first_s=0.1, cap_s=0.5, multiplier=2).delays_s(lambda: 0.0)
    assert list(islice(waits, 5)) == [0.1, 0.2, 0.4, 0.5, 0.5]


@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_jitter_takes_at_most_half_of_a_wait(unit: float) -> None:
    for plain, jittered in islice(
        zip(Backoff().delays_s(lambda: 0.0), Backoff().delays_s(lambda: unit), strict=True), 10
    ):
        assert plain / 2 <= jittered <= plain


def test_waits_never_overflow() -> None:
    waits = Backoff(first_s=1, cap_s=60, multiplier=1e9).delays_s(lambda: 0.0)
    assert max(islice(waits, 10_000)) == 60


@pytest.mark.parametrize(("first", "cap", "times"), [(0, 1, 2), (2, 1, 2), (1, 2, 0.5)])
def test_a_policy_that_makes_no_sense_cannot_be_built(
    first: float, cap: float, times: float
) -> None:
    with pytest.raises(AssertionError):
        Backoff(first, cap, times)

"""Backoff: bounds, growth, and settings that make no sense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.sched import PolicyError, RetryPolicy


@pytest.mark.parametrize(
    ("attempt", "delay_ms"), [(1, 1_000), (2, 2_000), (3, 4_000), (6, 32_000), (7, 60_000)]
)
def test_waits_double_up_to_the_maximum(attempt: int, delay_ms: int) -> None:
    assert RetryPolicy().delay_ms(attempt, 0.0) == delay_ms


policies = st.builds(
    lambda low, high, multiplier, jitter: RetryPolicy(
        backoff_ms=min(low, high),
        backoff_max_ms=max(low, high),
        multiplier=multiplier,
        jitter=jitter,
    ),
    st.integers(0, 100_000_000),
    st.integers(0, 100_000_000),
    st.floats(1, 100),
    st.floats(0, 1),
)


@given(policies, st.integers(1, 1 << 70), st.floats(0, 1, exclude_max=True))
def test_any_attempt_waits_within_jitter_of_the_policy(
    policy: RetryPolicy, attempt: int, unit: float
) -> None:
    full = policy.delay_ms(attempt, 0.0)
    assert policy.backoff_ms <= full <= policy.backoff_max_ms
    assert full * (1 - policy.jitter) - 1 <= policy.delay_ms(attempt, unit) <= full
    assert full <= policy.delay_ms(attempt + 1, 0.0)


def test_jitter_takes_its_fraction_off_also_at_the_maximum() -> None:
    assert RetryPolicy(jitter=0.5).delay_ms(100, 0.5) == 45_000


def test_the_last_attempt_is_the_maximum_th() -> None:
    policy = RetryPolicy(max_attempts=3)
    assert [policy.exhausted(attempt) for attempt in (1, 2, 3, 4)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_attempts", 0),
        ("ack_timeout_ms", 0),
        ("backoff_ms", -1),
        ("backoff_ms", 60_001),
        ("backoff_max_ms", 1 << 62),
        ("multiplier", 0.5),
        ("multiplier", math.nan),
        ("multiplier", math.inf),
        ("jitter", 1.5),
    ],
)
def test_a_senseless_setting_is_named_in_the_error(setting: str, value: float) -> None:
    with pytest.raises(PolicyError, match=f"^{setting} is {value}: it must be from "):
        RetryPolicy(**{setting: value})  # type: ignore[arg-type]

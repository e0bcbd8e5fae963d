from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest

from chronosdb.client import arguments as a
from chronosdb.wire.errors import InvalidArgument
from tests.client.fake_node import WALL_MS


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "..a", "x" * 249])
def test_names_that_the_protocol_allows_pass(name: str) -> None:
    assert a.check_name("topic", name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "é", "a\n", "x" * 250, None, b"a"])
def test_other_names_are_refused(name: Any) -> None:
    with pytest.raises(InvalidArgument, match="is not a name"):
        a.check_name("topic", name)


@pytest.mark.parametrize("value", [0, 1025, True, 1.0, "1", None])
def test_counts_are_ints_within_their_limits(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="partitions must be an int in 1 … 1024"):
        a.check_partitions(value)


def test_settings_are_numbers() -> None:
    assert a.check_settings({"retention_ms": 5}) == {"retention_ms": 5}
    with pytest.raises(InvalidArgument, match="retention_ms must be an int"):
        a.check_settings({"retention_ms": "5"})


def test_retention_is_given_in_seconds_and_only_once() -> None:
    assert a.check_settings({"max_pending": 9}, 1.5) == {"max_pending": 9, "retention_ms": 1500}
    with pytest.raises(TypeError, match="not both"):
        a.check_settings({"retention_ms": 5}, 5.0)
    with pytest.raises(InvalidArgument, match="retention must be 0 to"):
        a.check_settings({}, -1)
    with pytest.raises(TypeError, match="retention must be seconds"):
        a.check_settings({}, "7d")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        *(("earliest", "earliest"), ("latest", "latest"), (5, 5)),
        (dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC), 1000),
    ],
)
def test_a_group_starts_at_a_word_or_a_time(start: Any, expected: Any) -> None:
    assert a.check_start(start) == expected


@pytest.mark.parametrize("start", ["first", None, True, 1.5])
def test_a_group_starts_nowhere_else(start: Any) -> None:
    with pytest.raises(InvalidArgument, match="start must be"):
        a.check_start(start)


def test_a_mode_is_one_of_two() -> None:
    assert [a.check_mode("ordered"), a.check_mode("shared")] == ["ordered", "shared"]
    with pytest.raises(InvalidArgument, match="'ordered' or 'shared', not 'both'"):
        a.check_mode("both")


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, "1", None, True])
def test_a_timeout_is_positive_and_finite(timeout: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout must be seconds"):
        a.check_timeout(timeout)


@pytest.mark.parametrize("value", ["x" * 9, 5, "\ud800"])
def test_texts_are_unicode_of_bounded_length(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="token"):
        a.check_text("token", value, 8)


@pytest.mark.parametrize(
    ("after", "ms"), [(0, 0), (30, 30_000), (0.5, 500), (0.0001, 1), (1.0001, 1001)]
)
def test_after_counts_from_now_and_rounds_up(after: float, ms: int) -> None:
    """Rounding up, because an event is never early."""
    assert a.due_time(None, after, lambda: WALL_MS) == (WALL_MS + ms, True)


@pytest.mark.parametrize("after", [-1, -0.001, math.nan, math.inf, 1e300])
def test_after_is_not_negative_and_finite(after: float) -> None:
    with pytest.raises(InvalidArgument, match="after must be 0 to"):
        a.due_time(None, after, lambda: WALL_MS)


@pytest.mark.parametrize("after", ["1", True, dt.timedelta(1)])
def test_after_is_a_number(after: Any) -> None:
    with pytest.raises(TypeError, match="after must be seconds"):
        a.due_time(None, after, lambda: WALL_MS)


def test_at_is_an_aware_datetime_or_epoch_ms() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    at = dt.datetime(1970, 1, 1, 2, 0, 0, 1500, tzinfo=zone)
    assert a.due_time(at, None, lambda: 0) == (2, False)
    assert a.due_time(7, None, lambda: 0) == (7, False)
    with pytest.raises(TypeError, match="naive"):
        a.due_time(at.replace(tzinfo=None), None, lambda: 0)


def test_neither_is_now_and_both_are_a_mistake() -> None:
    assert a.due_time(None, None, lambda: 0) == (None, True)
    with pytest.raises(TypeError, match="not both"):
        a.due_time(5, 5, lambda: 0)

"""Durations and sizes: exact, and never without a unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.wire.units import (
    format_duration,
    format_size,
    parse_duration_ms,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("250ms", 250),
        ("30s", 30_000),
        ("1.5s", 1_500),
        ("0.001s", 1),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("7d", 604_800_000),
        (" 7 d ", 604_800_000),
        ("0", 0),
    ],
)
def test_durations(text: str, ms: int) -> None:
    """Each unit is its number of milliseconds, fractions included."""
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("512MB", 512_000_000), ("64KiB", 65_536), ("1.5GiB", 1_610_612_736), ("7B", 7), ("0", 0)],
)
def test_sizes(text: str, nbytes: int) -> None:
    """KB, MB, GB are thousands; KiB, MiB, GiB are 1024."""
    assert parse_size_bytes(text) == nbytes


@pytest.mark.parametrize(
    "text",
    ["", "s", "30", "30x", "30S", "-1s", "1e3s", "1_0s", "٣s", "1s2", "0.1ms", "9" * 20 + "s"],
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    """A number without a unit, a wrong unit, a sign or a fraction of a millisecond is an error."""
    with pytest.raises(ValueError, match=r"duration|whole number"):
        parse_duration_ms(text)


@given(st.integers(0, 2**62))
def test_what_is_written_reads_back(value: int) -> None:
    """Formatting is exact: reading gives the same number."""
    assert parse_duration_ms(format_duration(value)) == value
    assert parse_size_bytes(format_size(value)) == value


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (999, "999ms"), (90_000, "90s"), (3_600_000, "1h"), (86_400_000, "1d")],
)
def test_the_largest_exact_unit_is_written(ms: int, text: str) -> None:
    """90 s is not 1.5m, and an hour is not 3600 s."""
    assert format_duration(ms) == text


@pytest.mark.parametrize("text", ["3099999999999999999.9999s", "9" * 19 + "d"])
def test_more_than_is_kept_anywhere_is_refused(text: str) -> None:
    """Else it could be written, and not be read back."""
    with pytest.raises(ValueError, match="too much"):
        parse_duration_ms(text)

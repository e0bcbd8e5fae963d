"""The few statistics that the tables show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: What tables show of latencies.
SPREAD: Final = ("p50 ms", "p99 ms", "p99.9 ms", "max ms")

#: In percent; closer together where it is the tail that matters.
CURVE: Final = (1, 5, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.99)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed (nearest rank)."""
    assert ordered, "a quantile of nothing"
    assert 0 <= share <= 1, share
    rank = min(int(len(ordered) * share), len(ordered) - 1)
    return ordered[rank]


def spread(values_ms: Sequence[float]) -> dict[str, float]:
    """The middle and the tail of latencies, as figures."""
    ordered = sorted(values_ms)
    return {
        "p50 ms": quantile(ordered, 0.5),
        "p99 ms": quantile(ordered, 0.99),
        "p99.9 ms": quantile(ordered, 0.999),
        "max ms": ordered[-1],
    }


def curve(values_ms: Sequence[float]) -> dict[str, float]:
    """The distribution of latencies, as figures that can be drawn; `spread` is among them."""
    ordered = sorted(values_ms)
    points = {f"p{percent:g} ms": quantile(ordered, percent / 100) for percent in CURVE}
    return points | spread(ordered)

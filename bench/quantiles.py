"""The few statistics that the tables show."""

from __future__ import annotations

from collections.abc import Sequence


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

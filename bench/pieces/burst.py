"""How long events take that all fall due in the same millisecond, and what publishers feel of it."""

from __future__ import annotations

from functools import partial
from typing import Final

from bench.ahead import publish_ahead
from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.publishing import Pace, Singles, publish_singles
from bench.quantiles import quantile

#: Single events published meanwhile.
BESIDE_CALLERS: Final = 16
BESIDE_PER_S: Final = 500
#: They begin this long before the burst, and go on for so long.
BESIDE_BEFORE_MS: Final = 200
BESIDE_S: Final = 3.0

#: "Meanwhile" is until the last receipt, but at least so long.
MEANWHILE_MS: Final = 100


def piece(events: tuple[int, ...] = (100_000, 1_000_000)) -> Piece:
    """A burst of each size."""
    title = f"burst: due in one ms; meanwhile {BESIDE_PER_S} single events/s are published"
    return Piece(
        "burst", title, [Case(f"{each:,} events", partial(_measure, each)) for each in events]
    )


def _measure(events: int, lab: Lab) -> Figures:
    with lab.node() as node:
        ahead = publish_ahead(lab, node.address, events, span_ms=1)
        pace = Pace(ahead.due_ms - BESIDE_BEFORE_MS, BESIDE_S, BESIDE_PER_S)
        beside = lab.start(publish_singles, node.address, "beside", BESIDE_CALLERS, pace)
        late_ms = ahead.result().late_ms()
        last_ms = max(late_ms)
        meanwhile_ms = _asked_within(beside.result(), ahead.due_ms, max(last_ms, MEANWHILE_MS))
    return {
        "first ms": min(late_ms),
        "last ms": last_ms,
        "events/s": events / last_ms * 1000,
        "publish p99 ms": quantile(sorted(meanwhile_ms), 0.99),
        "publish max ms": max(meanwhile_ms),
    }


def _asked_within(singles: Singles, from_ms: int, length_ms: float) -> list[float]:
    """The waits of events that were to be published in this time."""
    return [
        open_ms
        for asked_ns, open_ms in zip(singles.asked_ns, singles.open_ms(), strict=True)
        if 0 <= asked_ns / 1e6 - from_ms <= length_ms
    ]

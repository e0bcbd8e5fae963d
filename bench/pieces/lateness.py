"""How late events arrive that fall due at random milliseconds."""

from __future__ import annotations

from functools import partial

from bench.ahead import publish_ahead
from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.quantiles import SPREAD, curve, quantile


def piece(rate: tuple[int, ...] = (1000, 5000, 20_000), seconds: float = 2.0) -> Piece:
    """A case for each rate (events falling due per second)."""
    return Piece(
        "lateness",
        f"lateness: {seconds:g} s of events due at random ms; from the due time to the receipt"
        " (sent: until the node sent it)",
        [Case(f"{each:,}/s due", partial(_measure, each, seconds)) for each in rate],
        columns=[*SPREAD, "sent p99 ms", "early"],
    )


def _measure(rate: int, seconds: float, lab: Lab) -> Figures:
    with lab.node() as node:
        ahead = publish_ahead(lab, node.address, int(rate * seconds), int(seconds * 1000))
        receipts = ahead.result()
    sent = sorted(receipts.lateness_ms)
    # An early one would have been an error: `result` checks.
    return {**curve(receipts.late_ms()), "sent p99 ms": quantile(sent, 0.99), "early": 0}

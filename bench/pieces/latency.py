"""How long a publisher of single events waits for its ack, and how many such acks there are a second."""

from __future__ import annotations

from functools import partial
from typing import Final

from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.load import now_ms
from bench.publishing import Pace, publish_singles
from bench.quantiles import spread

#: From handing out the work to the first event: the client has to connect.
LEAD_MS: Final = 500


def piece(rate: int = 5000, callers: int = 64, seconds: float = 2.0) -> Piece:
    """At a fixed rate, and as fast as it goes."""
    return Piece(
        "latency",
        f"latency: {callers} callers of one client publish single events for {seconds:g} s;"
        " from the send to the ack (open: from the moment an even rate asked for)",
        [
            Case(f"{rate:,}/s offered", partial(_measure, rate, callers, seconds)),
            Case("as fast as it goes", partial(_measure, None, callers, seconds)),
        ],
    )


def _measure(rate: int | None, callers: int, seconds: float, lab: Lab) -> Figures:
    with lab.node() as node:
        pace = Pace(now_ms() + LEAD_MS, seconds, rate)
        singles = lab.run(publish_singles, node.address, "bench", callers, pace)
    figures = {"events/s": singles.per_second(), **spread(singles.ack_ms())}
    return (
        figures if rate is None else {**figures, "open p99 ms": spread(singles.open_ms())["p99 ms"]}
    )

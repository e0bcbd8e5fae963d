"""How fast one reader goes through what is stored, in each order."""

from __future__ import annotations

from functools import partial

from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.load import Load
from bench.publishing import publish
from bench.receiving import replay, until_state

ORDERS = ("offset", "published", "fired", "scheduled")


def piece(events: int = 100_000) -> Piece:
    """One log, read once by each order."""
    title = f"replay: {events:,} fired events, the payload of each read"
    return Piece("replay", title, [Case("one reader", partial(_measure, events))])


def _measure(events: int, lab: Lab) -> Figures:
    load = Load("bench", events, due_ms=None)
    with lab.node() as node:
        lab.run(publish, node.address, load)
        lab.run(until_state, node.address, load.topic, load.edge_ids(), "fired")
        spent = {
            order: lab.run(replay, node.address, load.topic, order, events) for order in ORDERS
        }
    rates = {f"by {order} events/s": events / its.wall_s for order, its in spent.items()}
    return {**rates, "client CPU µs/event (offset)": spent["offset"].cpu_s / events * 1e6}

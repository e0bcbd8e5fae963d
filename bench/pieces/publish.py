"""How many events a second one client can store, by batch size."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.load import pending
from bench.publishing import publish


def piece(
    events: int = 200_000, callers: int = 8, batch: tuple[int, ...] = (1000, 100, 10, 1)
) -> Piece:
    """Batches of each size; the first size also with ids in random order.

    Smaller batches get fewer events, so that each case takes about as long.
    """
    cases = [
        Case(f"batches of {size:,}", partial(_measure, _events(events, size), size, callers))
        for size in batch
    ]
    scattered = Case(
        f"batches of {batch[0]:,}, random ids",
        partial(_measure, events, batch[0], callers, scattered=True),
    )
    title = f"publish: {callers} requests in flight, due in 1 to 2 h, fsync before ack"
    return Piece("publish", title, [cases[0], scattered, *cases[1:]])


def _events(events: int, batch: int) -> int:
    """A caller's cost of a request is about that of a hundred events in one."""
    return max(batch, events * batch // (batch + 100))


def _measure(
    events: int, batch: int, callers: int, lab: Lab, *, scattered: bool = False
) -> Figures:
    load = replace(pending("bench", events), batch=batch, callers=callers, scattered=scattered)
    with lab.node() as node:
        idle_s = node.cpu_s()
        spent = lab.run(publish, node.address, load)
        busy_s = node.cpu_s() - idle_s
    return {
        "events/s": events / spent.wall_s,
        "requests/s": events / batch / spent.wall_s,
        "client CPU µs/event": spent.cpu_s / events * 1e6,
        "node CPU µs/event": busy_s / events * 1e6,
    }

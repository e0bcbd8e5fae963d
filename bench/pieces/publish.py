"""How many events a second one client can store, by batch size and by requests in flight."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.load import Load, pending
from bench.publishing import publish


def piece(
    events: int = 100_000,
    callers: tuple[int, ...] = (1, 8, 64),
    batch: tuple[int, ...] = (1000, 100, 10, 1),
) -> Piece:
    """Each batch size with each number of callers; the first size also with ids in random order.

    Smaller batches get fewer events, so that each case takes about as long.
    """
    cases = [
        Case(f"batches of {size:,}, {many} in flight", partial(_measure, _load(events, size, many)))
        for size in batch
        for many in callers
    ]
    usual = callers[len(callers) // 2]
    scattered = replace(_load(events, batch[0], usual), scattered=True)
    name = f"batches of {batch[0]:,}, {usual} in flight, random ids"
    title = "publish: one client, one partition, due in 1 to 2 h, fsync before ack"
    columns = ("events/s", "requests/s", "client CPU µs/event", "node CPU µs/event")
    return Piece("publish", title, [*cases, Case(name, partial(_measure, scattered))], 5, columns)


def _load(events: int, batch: int, callers: int) -> Load:
    """A caller's cost of a request is about that of a hundred events in one."""
    count = max(batch * callers, events * batch // (batch + 100))
    return replace(pending("bench", count), batch=batch, callers=callers)


def _measure(load: Load, lab: Lab) -> Figures:
    with lab.node() as node:
        idle_s = node.cpu_s()
        spent = lab.run(publish, node.address, load)
        busy_s = node.cpu_s() - idle_s
    return {
        "events/s": load.count / spent.wall_s,
        "requests/s": load.count / load.batch / spent.wall_s,
        "client CPU µs/event": spent.cpu_s / load.count * 1e6,
        "node CPU µs/event": busy_s / load.count * 1e6,
        "events per batch": load.batch,
        "callers": load.callers,
    }

"""What copies cost: one client publishes to a node alone, and to three nodes with one copy and with three."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.load import Load, now_ms, pending
from bench.node_process import NodeProcess
from bench.publishing import Pace, publish, publish_singles
from bench.quantiles import quantile

NODES: Final = 3
#: Single events a second, while their acks are timed: few, so that it is waiting that is measured.
_SINGLES_PER_S: Final = 200
_SINGLES_S: Final = 2.0


def piece(events: int = 100_000, callers: int = 8, batch: int = 1000) -> Piece:
    """One partition each time, led by one node; all nodes share this machine."""
    sizes = partial(_load, events, callers, batch)
    cases = [Case("a node alone", partial(_measure_alone, partial(sizes, None, None)))]
    for name, copies, acks in (
        ("1 copy", 1, None),
        ("3 copies, acks leader", 3, "leader"),
        ("3 copies, acks quorum", 3, "quorum"),
        ("3 copies, acks all", 3, "all"),
    ):
        load = partial(sizes, copies, acks)
        cases.append(Case(f"{NODES} nodes, {name}", partial(_measure_cluster, load)))
    title = f"replication: batches of {batch:,}, {callers} in flight, synced before it counts"
    return Piece("replication", title, cases, runs=3)


def _load(events: int, callers: int, batch: int, copies: int | None, acks: str | None) -> Load:
    load = pending("bench", events)
    return replace(load, batch=batch, callers=callers, copies=copies, acks=acks)


def _measure_alone(load: Callable[[], Load], lab: Lab) -> Figures:
    with lab.node() as node:
        return _measure(load(), [node], lab)


def _measure_cluster(load: Callable[[], Load], lab: Lab) -> Figures:
    with lab.cluster(NODES) as nodes:
        return _measure(load(), nodes, lab)


def _measure(load: Load, nodes: Sequence[NodeProcess], lab: Lab) -> Figures:
    addresses = ",".join(node.address for node in nodes)
    before_s = sum(node.cpu_s() for node in nodes)
    spent = lab.run(publish, addresses, load)
    busy_s = sum(node.cpu_s() for node in nodes) - before_s
    pace = Pace(now_ms() + 200, _SINGLES_S, _SINGLES_PER_S)
    singles = lab.run(publish_singles, addresses, load.topic, 1, pace)
    waits_ms = sorted(singles.ack_ms())
    return {
        "events/s": load.count / spent.wall_s,
        "client CPU µs/event": spent.cpu_s / load.count * 1e6,
        "nodes CPU µs/event": busy_s / load.count * 1e6,
        "single ack p50 ms": quantile(waits_ms, 0.5),
        "single ack p99 ms": quantile(waits_ms, 0.99),
    }

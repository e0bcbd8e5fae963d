"""How fast one consumer works through a backlog of fired events, acking all of it."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.load import Load
from bench.node_process import NodeProcess
from bench.publishing import publish
from bench.receiving import BATCH_EVENTS, CREDITS, Handling, drain, until_state
from bench.stopwatch import Spent


def piece(events: int = 200_000) -> Piece:
    """One backlog, drained by one group after the other."""
    title = (
        f"drain: {events:,} fired events, {CREDITS:,} credits, batches of up to {BATCH_EVENTS:,};"
        " each event read, or only counted, or each batch's ack awaited"
    )
    return Piece("drain", title, [Case("one consumer", partial(_measure, events))])


def _measure(events: int, lab: Lab) -> Figures:
    load = Load("bench", events, due_ms=None)
    with lab.node() as node:
        lab.run(publish, node.address, load)
        lab.run(until_state, node.address, load.topic, load.edge_ids(), "fired")
        counted = _drain(lab, node, load, Handling.COUNT)
        awaited = _drain(lab, node, load, Handling.AWAIT)
        read = _drain(lab, node, load, Handling.READ)
    return {
        "read events/s": events / read.client.wall_s,
        "counted events/s": events / counted.client.wall_s,
        "awaited events/s": events / awaited.client.wall_s,
        "client CPU µs/event (read)": read.client.cpu_s / events * 1e6,
        "node CPU µs/event (read)": read.node_cpu_s / events * 1e6,
    }


class _Drained(NamedTuple):
    client: Spent
    node_cpu_s: float


def _drain(lab: Lab, node: NodeProcess, load: Load, handling: Handling) -> _Drained:
    """Let a group of its own drain the backlog."""
    idle_s = node.cpu_s()
    client = lab.run(drain, node.address, load.topic, handling.value, load.count, handling)
    return _Drained(client, node.cpu_s() - idle_s)

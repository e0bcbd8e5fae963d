"""How soon a node with many pending events serves again, after a crash and after a clean stop."""

from __future__ import annotations

from functools import partial

from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.load import pending
from bench.node_process import NodeProcess
from bench.publishing import publish
from bench.receiving import until_state


def piece(events: int = 1_000_000) -> Piece:
    """Crash right after the last ack, start, clean stop, start: on one load."""
    title = "restart: seconds from the start of the process until it serves"
    return Piece("restart", title, [Case(f"{events:,} pending", partial(_measure, events))])


def _measure(events: int, lab: Lab) -> Figures:
    load = pending("bench", events)
    with lab.home() as home:
        with NodeProcess(home) as node:
            empty_s = node.ready_s
            lab.run(publish, node.address, load)
            node.kill()
        with NodeProcess(home) as node:
            crashed_s = node.ready_s
            lab.run(until_state, node.address, load.topic, load.edge_ids(), "pending")
            stop_s = node.stop()
        with NodeProcess(home) as node:
            stopped_s = node.ready_s
            lab.run(until_state, node.address, load.topic, load.edge_ids(), "pending")
    return {
        "empty s": empty_s,
        "after kill -9 s": crashed_s,
        "after clean stop s": stopped_s,
        "clean stop s": stop_s,
    }

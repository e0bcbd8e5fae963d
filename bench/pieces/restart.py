"""How soon a node with many pending events serves again: after a crash, a clean stop, and without views."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from bench.case import Case, Figures, Piece
from bench.filling import fill
from bench.lab import Lab
from bench.load import Load, pending
from bench.node_process import NodeProcess
from bench.receiving import until_state


def piece(events: int = 500_000) -> Piece:
    """Crash right after the last ack, start, clean stop, start, crash, views gone, start: on one load."""
    title = "restart: seconds from the start of the process until it serves"
    return Piece("restart", title, [Case(f"{events:,} pending", partial(_measure, events))], runs=3)


def _measure(events: int, lab: Lab) -> Figures:
    load = pending("bench", events)
    with lab.home() as home:
        with NodeProcess(home) as node:
            empty_s = node.ready_s
            fill(lab, node.address, load)
            node.kill()
        with NodeProcess(home) as node:
            crashed_s = node.ready_s
            _check(lab, node, load)
            stop_s = node.stop()
        with NodeProcess(home) as node:
            stopped_s = node.ready_s
            _check(lab, node, load)
            node.kill()
        _forget_views(home)
        with NodeProcess(home) as node:
            rebuilt_s = node.ready_s
            _check(lab, node, load)
    return {
        "empty s": empty_s,
        "after kill -9 s": crashed_s,
        "after clean stop s": stopped_s,
        "views rebuilt s": rebuilt_s,
        "clean stop s": stop_s,
    }


def _check(lab: Lab, node: NodeProcess, load: Load) -> None:
    """What was acked is there."""
    lab.run(until_state, node.address, load.topic, load.edge_ids(), "pending")


def _forget_views(home: Path) -> None:
    """Leave only the logs, as after damage to the views."""
    shutil.rmtree(home / "data" / "views")

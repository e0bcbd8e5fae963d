"""What partitions cost: a topic of 1, 10, 100 and 1,000 of them on one node."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Final

from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.load import pending
from bench.node_process import NodeProcess
from bench.publishing import make_topic, publish

#: Idle CPU is counted over this time, after as long a rest.
IDLE_S: Final = 1.0


def piece(events: int = 20_000, count: tuple[int, ...] = (1, 10, 100, 1000)) -> Piece:
    """A case for each number of partitions; events go where the hash of their id says."""
    title = (
        f"partitions: one topic; {events:,} events in batches of 1,000 spread over all partitions,"
        " due in 1 to 2 h; then a crash and a start"
    )
    cases = [Case(f"{each:,} partitions", partial(_measure, events, each)) for each in count]
    return Piece("partitions", title, cases, runs=3)


def _measure(events: int, count: int, lab: Lab) -> Figures:
    load = replace(pending("bench", events), partitions=count)
    with lab.home() as home:
        with NodeProcess(home) as node:
            made = lab.run(make_topic, node.address, load)
            spent = lab.run(publish, node.address, load)
            time.sleep(IDLE_S)
            before_s = node.cpu_s()
            time.sleep(IDLE_S)
            idle_s = node.cpu_s() - before_s
            size = node.rss_bytes()
        with NodeProcess(home) as node:
            restart_s = node.ready_s
    return {
        "create s": made.wall_s,
        "events/s": events / spent.wall_s,
        "idle CPU %": idle_s / IDLE_S * 100,
        "RSS MB": size / 1e6,
        "restart after kill -9 s": restart_s,
    }

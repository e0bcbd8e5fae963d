"""What pending events cost, in memory and in time, by how many there are: insert, fire, cancel, restart."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Final

from bench.cancelling import cancel
from bench.case import Case, Figures, Piece
from bench.filling import fill
from bench.lab import Lab
from bench.load import Load, now_ms, pending
from bench.node_process import NodeProcess
from bench.publishing import publish
from bench.receiving import until_state

#: Until buffers and views have come to rest.
SETTLE_S: Final = 1.0

#: What one insert costs, one firing, one cancellation is seen on so many events more.
PROBE: Final = 20_000
CANCELLED: Final = 2000

#: The probe's events fall due within this time; it begins so long after the last ack.
FIRE_SPAN_MS: Final = 500
FIRE_LEAD_MS: Final = 1000

#: Beyond this a run takes minutes, and one has to do.
LONG: Final = 1_000_000


def piece(count: tuple[int, ...] = (10_000, 100_000, 1_000_000)) -> Piece:
    """A case for each number of pending events."""
    return Piece(
        "pending",
        f"pending: events due in 1 to 2 h; then CPU of the node for {PROBE:,} more that are stored"
        f" and fired with nobody subscribed, and {CANCELLED:,} single cancellations",
        [Case(f"{each:,} pending", partial(_measure, each)) for each in count],
        runs=1 if max(count) > LONG else 3,
        columns=(
            *("events/s", "insert µs", "fire µs", "cancel µs", "RSS MB", "bytes/event"),
            *("restart after kill -9 s", "RSS MB then"),
        ),
    )


def _measure(count: int, lab: Lab) -> Figures:
    load = pending("bench", count)
    with lab.home() as home:
        with NodeProcess(home) as node:
            empty = node.rss_bytes()
            wall_s = fill(lab, node.address, load).wall_s
            time.sleep(SETTLE_S)
            full = node.rss_bytes()
            probed = _probe(lab, node, load)
            node.kill()
        with NodeProcess(home) as node:
            lab.run(until_state, node.address, load.topic, load.edge_ids(), "pending")
            restart_s, again = node.ready_s, node.rss_bytes()
    return {
        "events/s": count / wall_s,
        **probed,
        "RSS MB": full / 1e6,
        "bytes/event": (full - empty) / count,
        "restart after kill -9 s": restart_s,
        "RSS MB then": again / 1e6,
        "pending": count,
    }


def _probe(lab: Lab, node: NodeProcess, load: Load) -> Figures:
    """CPU of the node, in µs an event, for one more of each."""
    before_s = node.cpu_s()
    more = replace(load, first=load.count, count=PROBE)
    lab.run(publish, node.address, more)
    inserted_s = node.cpu_s() - before_s
    before_s = node.cpu_s()
    lab.run(cancel, node.address, load.topic, more.message_ids(CANCELLED))
    cancelled_s = node.cpu_s() - before_s
    return {
        "insert µs": inserted_s / PROBE * 1e6,
        "fire µs": _fired_s(lab, node, load) / PROBE * 1e6,
        "cancel µs": cancelled_s / CANCELLED * 1e6,
    }


def _fired_s(lab: Lab, node: NodeProcess, load: Load) -> float:
    """Processor time from before the probe's first due time until all of it has fired.

    Asking whether it has is part of it: a few per cent, as the first answer is yes on a machine with time.
    """
    due_ms = now_ms() + FIRE_LEAD_MS
    soon = Load(load.topic, PROBE, due_ms, FIRE_SPAN_MS, first=load.count + PROBE)
    lab.run(publish, node.address, soon)
    time.sleep(max(0, due_ms - now_ms()) / 1000)
    before_s = node.cpu_s()
    time.sleep(2 * FIRE_SPAN_MS / 1000)
    lab.run(until_state, node.address, load.topic, soon.edge_ids(), "fired")
    return node.cpu_s() - before_s

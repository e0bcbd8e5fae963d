"""What a pending event costs in memory."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from bench.case import Case, Figures, Piece
from bench.lab import Lab
from bench.load import Load, pending
from bench.node_process import NodeProcess
from bench.publishing import publish

#: Until buffers and views have come to rest.
SETTLE_S: Final = 2.0

#: This part of the events fills what is limited (record cache, view buffers); beyond it only what each
#: event costs can grow.
FIRST_SHARE: Final = 4


def piece(events: int = 1_000_000) -> Piece:
    """One load, weighed twice on the way."""
    title = "memory: resident size of the node with events due in 1 to 2 h"
    cases = [Case(f"{events:,} pending", partial(_measure, events))]
    # Memory hardly depends on how busy the machine is, and a run is long: one will do.
    return Piece("memory", title, cases, runs=1)


def _measure(events: int, lab: Lab) -> Figures:
    first = events // FIRST_SHARE
    with lab.node() as node:
        empty = node.rss_bytes()
        some = _size_with(lab, node, pending("bench", first))
        full = _size_with(lab, node, pending("bench", events - first, first))
    return {
        "RSS empty MB": empty / 1e6,
        "RSS MB": full / 1e6,
        "bytes/event": (full - empty) / events,
        "bytes/event, last 3/4": (full - some) / (events - first),
    }


def _size_with(lab: Lab, node: NodeProcess, load: Load) -> int:
    """Resident bytes once this load is stored as well."""
    lab.run(publish, node.address, load)
    time.sleep(SETTLE_S)
    return node.rss_bytes()

"""How late the event loop is: what keeps it busy for long delays every timer of the node."""

from __future__ import annotations

from typing import Final

import trio

from chronosdb.node.partition.counters import DURATION_S
from chronosdb.node.partition.histogram import Histogram

_SLEEP_S: Final = 0.1


class LoopLag:
    """Sleeps, and counts by how much each sleep was too long."""

    def __init__(self) -> None:
        self.seconds = Histogram(DURATION_S)

    async def run(self) -> None:
        """Measure for ever. It wakes up ten times a second, so virtual time has no use for it."""
        while True:
            wanted_s = trio.current_time() + _SLEEP_S
            await trio.sleep_until(wanted_s)
            self.seconds.add(trio.current_time() - wanted_s)

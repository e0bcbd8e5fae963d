"""How many events were pending, over the life of a log."""

from __future__ import annotations

import numpy as np

from tests.proof.checker.columns import Int64s
from tests.proof.checker.logs import PartitionLog


class Curve:
    """How many events were pending after each record of a log."""

    def __init__(self, log: PartitionLog) -> None:
        parts = log.parts
        lines = np.concatenate(
            [some["line"] for some in (parts.stored, parts.fired, parts.cancelled)]
        )
        steps = np.concatenate(
            [
                np.ones(len(parts.stored), dtype=np.int64),
                np.full(len(parts.fired) + len(parts.cancelled), -1),
            ]
        )
        order = np.argsort(lines, kind="stable")
        ordered = lines[order]
        totals = np.cumsum(steps[order])
        # After the last row of each record.
        last = (
            np.append(ordered[1:] != ordered[:-1], True) if len(ordered) else np.zeros(0, np.bool_)
        )
        self._lines: Int64s = ordered[last]
        self._totals: Int64s = totals[last]

    def between(self, least: int, most: int) -> tuple[int, int]:
        """The fewest and the most, from after line `least` to after line `most`."""
        first = int(np.searchsorted(self._lines, least, side="right"))
        last = int(np.searchsorted(self._lines, most, side="right"))
        start = int(self._totals[first - 1]) if first else 0
        inside = self._totals[first:last]
        return min(start, int(inside.min(initial=start))), max(
            start, int(inside.max(initial=start))
        )

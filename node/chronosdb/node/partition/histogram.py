"""A histogram: how many values were at most each of some bounds, and their sum."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import numpy as np

from chronosdb.node.partition.due import Int64s

#: Up to here a loop in Python is faster than numpy's fixed cost per call.
_FEW: Final = 8


class Histogram:
    """Counts by bound. One writer; who reads meanwhile may see a value in `counts` before `total`."""

    __slots__ = ("_edges", "bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        assert list(bounds) == sorted(set(bounds))
        self.bounds = bounds
        self._edges = np.array(bounds)
        #: How many values were in (the bound before, this bound]; last, those above all bounds.
        self.counts = [0] * (len(bounds) + 1)
        #: The sum of all values.
        self.total: float = 0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_many(self, values: Int64s) -> None:
        """Count all of `values`."""
        if len(values) <= _FEW:
            for value in values.tolist():
                self.add(value)
            return
        slots = self._edges.searchsorted(values)
        for slot, count in enumerate(np.bincount(slots).tolist()):
            self.counts[slot] += count
        self.total += int(values.sum())

    def merge(self, other: Histogram) -> None:
        """Count everything that `other` has counted."""
        assert self.bounds == other.bounds
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

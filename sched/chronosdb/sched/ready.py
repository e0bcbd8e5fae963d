"""Timers whose time has come, waiting to be taken in `(due_ms, key)` order.

They are kept as a few sorted runs of geometrically falling size (a run is merged into its
neighbour once it is at least half as long), each with a cursor. So a million timers of one
millisecond are sorted once however small the bites in which they are taken, and latecomers cost
O(log n) amortised, not a new sort of everything.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Timers: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]

EMPTY: Final = np.empty(0, dtype=np.int64)


def in_order(due_ms: NDArray[np.int64], keys: NDArray[np.int64]) -> Timers:
    """The same timers sorted by `(due_ms, key)`; linear in time if they are nearly sorted."""
    order = np.lexsort((keys, due_ms))
    return due_ms[order], keys[order]


class _SortedRun:
    """Timers in order, of which the first `taken` are gone."""

    __slots__ = ("due_ms", "keys", "taken")

    def __init__(self, due_ms: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        self.due_ms = due_ms
        self.keys = keys
        self.taken = 0

    def __len__(self) -> int:
        return len(self.due_ms) - self.taken

    def count_due(self, now_ms: int) -> int:
        # Only among those left: after a clock stepped back, even some of the taken are not due.
        return int(np.searchsorted(self.due_ms[self.taken :], now_ms, side="right"))

    def head(self, count: int) -> Timers:
        upto = self.taken + count
        return self.due_ms[self.taken : upto], self.keys[self.taken : upto]

    def merged(self, other: _SortedRun) -> _SortedRun:
        ours, theirs = self.head(len(self)), other.head(len(other))
        due_ms, keys = (np.concatenate(pair) for pair in zip(ours, theirs, strict=True))
        return _SortedRun(*in_order(due_ms, keys))


class ReadyQueue:
    """A priority queue of packed timers that is filled and emptied in batches."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        # Invariant: none is empty, and each was more than twice as long as the next when that
        # one was pushed; runs only shrink after that, so there are at most log2 of the longest.
        self._runs: list[_SortedRun] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    @property
    def nbytes(self) -> int:
        """Memory held, timers already taken from a run included."""
        return sum(run.due_ms.nbytes + run.keys.nbytes for run in self._runs)

    def push(self, due_ms: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        """Add timers in any order."""
        if not len(due_ms):
            return
        run = _SortedRun(*in_order(due_ms, keys))
        while self._runs and len(run) * 2 >= len(self._runs[-1]):
            run = self._runs.pop().merged(run)
        self._runs.append(run)

    def next_due_ms(self) -> int | None:
        """The earliest due time held."""
        return min((int(run.due_ms[run.taken]) for run in self._runs), default=None)

    def pop(self, now_ms: int, limit: int) -> Timers:
        """Take the first `limit` timers with `due_ms <= now_ms`, in order."""
        counts = [min(run.count_due(now_ms), limit) for run in self._runs]
        if not any(counts):
            return EMPTY, EMPTY
        if len(counts) == 1:
            # A copy, or the caller's handful would keep the whole run in memory.
            due_ms, keys = (column.copy() for column in self._runs[0].head(counts[0]))
        else:
            due_ms, keys, counts = self._first_of_all(counts, limit)
        self._drop(counts)
        return due_ms, keys

    def _first_of_all(
        self, counts: list[int], limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
        """The first `limit` timers of the runs' heads together, and how many each run gives."""
        heads = [run.head(count) for run, count in zip(self._runs, counts, strict=True)]
        due_ms = np.concatenate([head[0] for head in heads])
        keys = np.concatenate([head[1] for head in heads])
        owner = np.repeat(np.arange(len(heads)), counts)
        order = np.lexsort((keys, due_ms))[:limit]
        given = np.bincount(owner[order], minlength=len(heads))
        return due_ms[order], keys[order], given.tolist()

    def _drop(self, counts: list[int]) -> None:
        for run, count in zip(self._runs, counts, strict=True):
            run.taken += count
        self._runs = [run for run in self._runs if len(run)]

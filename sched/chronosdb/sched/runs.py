"""Integers as runs: half-open `(start, stop)` pairs, sorted and disjoint, found by bisection.

Positions are handed out and settled in long contiguous stretches, so a set of millions of them
is usually a handful of runs, and an operation costs the runs it touches, not the integers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

V = TypeVar("V")

Run: TypeAlias = tuple[int, int]


def count(runs: Iterable[Run]) -> int:
    """How many integers the runs hold."""
    total = 0
    for start, stop in runs:
        total += stop - start
    return total


class _Runs:
    """Runs in ascending order; what the set and the map have in common."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        # Invariant: starts[i] < stops[i] <= starts[i + 1].
        self._starts: list[int] = []
        self._stops: list[int] = []

    def _index(self, item: int) -> int | None:
        """Which run holds `item`."""
        i = bisect_right(self._starts, item) - 1
        return i if i >= 0 and item < self._stops[i] else None

    def _overlapping(self, start: int, stop: int) -> tuple[int, int]:
        """The runs that share integers with `[start, stop)` are first..last - 1."""
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop, first) if start < stop else first
        return first, last

    def _clipped(self, first: int, last: int, start: int, stop: int) -> list[Run]:
        """What the runs first..last - 1, which overlap `[start, stop)`, have of it."""
        if last - first == 1:  # The case of single acks: without copies of the lists.
            return [(max(start, self._starts[first]), min(stop, self._stops[first]))]
        runs = zip(self._starts[first:last], self._stops[first:last], strict=True)
        return [(max(left, start), min(right, stop)) for left, right in runs]

    def _excise(self, first: int, last: int, start: int, stop: int) -> tuple[bool, bool]:
        """Take `[start, stop)` out of the runs first..last - 1, which overlap it.

        Returns:
            Whether something is left of the first run before `start`, of the last after `stop`.
        """
        left, right = self._starts[first], self._stops[last - 1]
        starts, stops = [], []
        if left < start:
            starts.append(left)
            stops.append(start)
        if stop < right:
            starts.append(stop)
            stops.append(right)
        self._starts[first:last] = starts
        self._stops[first:last] = stops
        return left < start, stop < right


class RunSet(_Runs):
    """A set of integers; iterating yields its runs, which never touch each other."""

    __slots__ = ("_len",)

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        super().__init__()
        # Invariant: count(self).
        self._len = 0
        for start, stop in runs:
            self.add(start, stop)

    def __len__(self) -> int:
        """How many integers, not how many runs."""
        return self._len

    def __iter__(self) -> Iterator[Run]:
        return zip(self._starts, self._stops, strict=True)

    def __contains__(self, item: int) -> bool:
        return self._index(item) is not None

    def __repr__(self) -> str:
        return f"RunSet({list(self)})"

    def first(self) -> Run | None:
        """The lowest run."""
        return (self._starts[0], self._stops[0]) if self._starts else None

    def last(self) -> Run | None:
        """The highest run."""
        return (self._starts[-1], self._stops[-1]) if self._starts else None

    def add(self, start: int, stop: int) -> list[Run]:
        """Include `[start, stop)`; return the runs of it that were not there before."""
        assert start < stop
        # The runs that overlap or touch it are first..last - 1.
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop, first)
        if first == last:
            self._starts.insert(first, start)
            self._stops.insert(first, stop)
            self._len += stop - start
            return [(start, stop)]
        added = self._gaps(first, last, start, stop)
        self._starts[first:last] = [min(start, self._starts[first])]
        self._stops[first:last] = [max(stop, self._stops[last - 1])]
        self._len += count(added)
        return added

    def remove(self, start: int, stop: int) -> list[Run]:
        """Exclude `[start, stop)`; return the runs of it that were there."""
        first, last = self._overlapping(start, stop)
        removed = self._clipped(first, last, start, stop)
        if removed:
            self._excise(first, last, start, stop)
            self._len -= count(removed)
        return removed

    def overlaps(self, start: int, stop: int) -> list[Run]:
        """The runs of the set within `[start, stop)`."""
        return self._clipped(*self._overlapping(start, stop), start, stop)

    def gaps(self, start: int, stop: int) -> list[Run]:
        """The runs of `[start, stop)` that are not in the set."""
        return self._gaps(*self._overlapping(start, stop), start, stop)

    def next_gap(self, start: int, stop: int) -> Run | None:
        """The first of `gaps(start, stop)`, without looking for the others."""
        i = bisect_right(self._starts, start)
        if i and self._stops[i - 1] > start:
            start = self._stops[i - 1]
        if i < len(self._starts):
            stop = min(stop, self._starts[i])
        return (start, stop) if start < stop else None

    def _gaps(self, first: int, last: int, start: int, stop: int) -> list[Run]:
        found = []
        for i in range(first, last):
            if start < self._starts[i]:
                found.append((start, self._starts[i]))
            start = self._stops[i]
        if start < stop:
            found.append((start, stop))
        return found


class RunMap(_Runs, Generic[V]):
    """Disjoint runs, each with a value; iterating yields `(start, stop, value)`."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        super().__init__()
        # Invariant: one for each run; neighbours of equal value are not merged.
        self._values: list[V] = []

    def __len__(self) -> int:
        """How many runs."""
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int, V]]:
        return zip(self._starts, self._stops, self._values, strict=True)

    def get(self, item: int) -> V | None:
        """The value of the run that holds `item`."""
        i = self._index(item)
        return None if i is None else self._values[i]

    def put(self, start: int, stop: int, value: V) -> None:
        """Map `[start, stop)`, of which nothing may be mapped yet."""
        assert start < stop
        i = bisect_left(self._starts, start)
        assert i == 0 or self._stops[i - 1] <= start, "overlaps the run before"
        assert i == len(self._starts) or stop <= self._starts[i], "overlaps the run after"
        self._starts.insert(i, start)
        self._stops.insert(i, stop)
        self._values.insert(i, value)

    def overlaps(self, start: int, stop: int) -> list[tuple[int, int, V]]:
        """What `[start, stop)` is mapped to, run by run."""
        first, last = self._overlapping(start, stop)
        return self._valued(first, last, start, stop)

    def cut(self, start: int, stop: int) -> list[tuple[int, int, V]]:
        """Unmap `[start, stop)`, splitting runs that reach out of it; return what it held."""
        first, last = self._overlapping(start, stop)
        removed = self._valued(first, last, start, stop)
        if removed:
            keep_left, keep_right = self._excise(first, last, start, stop)
            kept = [self._values[first]] if keep_left else []
            if keep_right:
                kept.append(self._values[last - 1])
            self._values[first:last] = kept
        return removed

    def _valued(self, first: int, last: int, start: int, stop: int) -> list[tuple[int, int, V]]:
        runs = self._clipped(first, last, start, stop)
        if len(runs) == 1:
            return [(*runs[0], self._values[first])]
        return [(*run, value) for run, value in zip(runs, self._values[first:last], strict=True)]

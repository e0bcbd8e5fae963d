"""A set that knows its smallest item and forgets cheaply."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar("T", int, tuple[int, int])


class LazyHeap(Generic[T]):
    """A heap with deletion by neglect.

    `discard` only forgets the item; it leaves the heap when it surfaces, or when the forgotten
    outnumber the others, so that work is O(log n) amortised and memory stays proportional to
    what is held.
    """

    __slots__ = ("_heap", "_held")

    def __init__(self) -> None:
        self._held: set[T] = set()
        # Invariant: a heap that has every item held, perhaps twice, and some that are not.
        self._heap: list[T] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, item: T) -> None:
        """Hold `item`; nothing happens if it is held already."""
        if item not in self._held:
            self._held.add(item)
            heapq.heappush(self._heap, item)

    def discard(self, item: T) -> None:
        """Forget `item`; nothing happens if it is not held."""
        self._held.discard(item)
        if len(self._heap) > 2 * len(self._held) + 64:
            self._heap = sorted(self._held)

    def min(self) -> T | None:
        """The smallest item held."""
        while self._heap and self._heap[0] not in self._held:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def pop(self) -> T:
        """Take out the smallest of the items held, of which there must be one."""
        item = self.min()
        assert item is not None
        heapq.heappop(self._heap)
        self._held.remove(item)
        return item

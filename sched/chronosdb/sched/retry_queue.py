"""Positions whose last delivery failed, waiting for their next attempt."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from chronosdb.sched.heap import LazyHeap

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Retry:
    """The number of the next attempt, and the time before which it is not made."""

    attempt: int
    due_ms: int


class RetryQueue:
    """Retries by due time until they are due, by position from then on.

    A retry once seen due stays due, also if the clock steps back.
    """

    __slots__ = ("_due", "_retries", "_waiting")

    def __init__(self) -> None:
        # Invariant: a position in here is in exactly one of the heaps, and no other is.
        self._retries: dict[int, Retry] = {}
        self._waiting: LazyHeap[tuple[int, int]] = LazyHeap()
        self._due: LazyHeap[int] = LazyHeap()

    def __len__(self) -> int:
        return len(self._retries)

    def __contains__(self, position: int) -> bool:
        return position in self._retries

    def view(self) -> Mapping[int, Retry]:
        """All retries by position, read-only and live."""
        return MappingProxyType(self._retries)

    def put(self, position: int, retry: Retry) -> None:
        """Queue a position that is not queued."""
        assert position not in self._retries
        self._retries[position] = retry
        self._waiting.add((retry.due_ms, position))

    def drop(self, start: int, stop: int) -> None:
        """Forget the retries within `[start, stop)`: costs the smaller of the two."""
        if stop - start <= len(self._retries):
            found = [position for position in range(start, stop) if position in self._retries]
        else:
            found = [position for position in self._retries if start <= position < stop]
        for position in found:
            retry = self._retries.pop(position)
            self._waiting.discard((retry.due_ms, position))
            self._due.discard(position)

    def take(self, limit: int, end: int, now_ms: int) -> list[tuple[int, int]]:
        """Take up to `limit` due retries below `end`: `(position, attempt)` in position order."""
        taken: list[tuple[int, int]] = []
        while len(taken) < limit and self.has_due(end, now_ms):
            position = self._due.pop()
            taken.append((position, self._retries.pop(position).attempt))
        return taken

    def has_due(self, end: int, now_ms: int) -> bool:
        """Whether a position below `end` may be tried again."""
        while (first := self._waiting.min()) is not None and first[0] <= now_ms:
            self._due.add(self._waiting.pop()[1])
        position = self._due.min()
        return position is not None and position < end

    def next_due_ms(self) -> int | None:
        """When the next one falls due, of those that nobody has seen due yet."""
        first = self._waiting.min()
        return None if first is None else first[0]

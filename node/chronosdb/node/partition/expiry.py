"""Leaving expired events out of what is about to be sent."""

from __future__ import annotations

from collections.abc import Iterator

from chronosdb.node.partition.reader import Slice


class Sieve:
    """Lets through what has not expired at `now_ms`, and notes the rest.

    An event is delivered at its expiry no more, as it is from its due time on: [due, expires).
    """

    def __init__(self, now_ms: int | None) -> None:
        """`now_ms` None: let everything through."""
        self._now_ms = now_ms
        #: What has expired: places in the order of what was to be sent.
        self.left_out: list[int] = []

    def pieces(self, slices: Iterator[Slice]) -> Iterator[tuple[int, Slice]]:
        """What is left of `slices`, each with its place. No work per event where none can expire."""
        at = 0
        for whole in slices:
            if whole.stored.batch.expiry_len and self._now_ms is not None:
                yield from self._cut(at, whole, self._now_ms)
            else:
                yield at, whole
            at += whole.stop - whole.start

    def _cut(self, at: int, whole: Slice, now_ms: int) -> Iterator[tuple[int, Slice]]:
        start = whole.start
        for i in range(whole.start, whole.stop):
            expires_ms = whole.stored.batch.expires(i)
            if expires_ms is not None and expires_ms <= now_ms:
                self.left_out.append(at + i - whole.start)
                if start < i:
                    yield at + start - whole.start, Slice(whole.stored, start, i)
                start = i + 1
        if start < whole.stop:
            yield at + start - whole.start, Slice(whole.stored, start, whole.stop)

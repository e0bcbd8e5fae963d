"""Message ids for events published without one.

128 bits in 32 hex digits: 48 bits of epoch ms, then 80 random bits (the idea of UUIDv7). Sorted ids
are in the order they were made, so the node's index by id grows at its end.
"""

from __future__ import annotations

from chronosdb.client.seams import Seams

_RANDOM_BYTES = 10


class IdMaker:
    """Makes ids that strictly increase, whatever the clock does."""

    def __init__(self, seams: Seams) -> None:
        self._seams = seams
        #: The id that may be used next. Invariant: above every id made so far.
        self._next = 0

    def take(self, count: int) -> list[str]:
        """`count` new ids, ascending. One draw of randomness serves them all: they are consecutive."""
        random = int.from_bytes(self._seams.random_bytes(_RANDOM_BYTES), "big")
        first = max(self._next, self._seams.now_ms() << 8 * _RANDOM_BYTES | random)
        self._next = first + count
        return [f"{value:032x}" for value in range(first, self._next)]

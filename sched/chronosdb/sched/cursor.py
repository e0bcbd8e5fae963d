"""A group's progress in a partition: a low mark, plus the settled runs above it.

Bytes, version 1: the byte 1, then varints (LEB128): `low`, and for each run above it in order
the unsettled positions before it (since `low` or the last run) and the settled ones in it; both
are at least 1, so a cursor has exactly one encoding. Settled {0..9, 12, 13} is 01 0a 02 02.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chronosdb.sched import varint
from chronosdb.sched.errors import CorruptStateError
from chronosdb.sched.runs import RunSet, count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chronosdb.sched.runs import Run

VERSION: Final = 1
POSITION_MAX: Final = varint.VALUE_MAX


class Cursor:
    """Which positions of a partition are settled."""

    __slots__ = ("_above", "_low")

    def __init__(self, low: int = 0) -> None:
        assert 0 <= low <= POSITION_MAX
        # Invariant: never decreases, and the position `low` itself is unsettled.
        self._low = low
        # Invariant: every run in it starts above `low`.
        self._above = RunSet()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cursor):
            return NotImplemented
        return self._low == other._low and list(self._above) == list(other._above)

    __hash__ = None  # type: ignore[assignment]  # a cursor changes

    def __repr__(self) -> str:
        return f"Cursor(low={self._low}, above={list(self._above)})"

    @property
    def low(self) -> int:
        """Everything below is settled; this position is not."""
        return self._low

    def above(self) -> Iterator[Run]:
        """The settled runs above the low mark, in order."""
        return iter(self._above)

    def settle(self, start: int, stop: int) -> list[Run]:
        """Settle `[start, stop)`; return the runs of it that were not settled before."""
        assert 0 <= start < stop <= POSITION_MAX
        if stop <= self._low:
            return []
        settled = self._above.add(max(start, self._low), stop)
        lowest = self._above.first()
        if lowest is not None and lowest[0] == self._low:
            self._above.remove(*lowest)
            self._low = lowest[1]
        return settled

    def is_settled(self, position: int) -> bool:
        """Whether `position` needs no more deliveries."""
        return position < self._low or position in self._above

    def unsettled(self, start: int, stop: int) -> list[Run]:
        """The runs of `[start, stop)` that are not settled."""
        return self._above.gaps(max(start, self._low), stop)

    def lag(self, end: int) -> int:
        """How many positions below `end` are not settled."""
        highest = self._above.last()
        if highest is None or highest[1] <= end:
            return max(0, end - self._low - len(self._above))
        return count(self.unsettled(self._low, end))

    def to_bytes(self) -> bytes:
        """The cursor in the format of this module's docstring."""
        numbers = [self._low]
        reached = self._low
        for start, stop in self._above:
            numbers += start - reached, stop - start
            reached = stop
        return bytes([VERSION]) + varint.encode(numbers)

    @classmethod
    def from_bytes(cls, data: bytes) -> Cursor:
        """The cursor that `to_bytes` encoded.

        Raises:
            CorruptStateError: these are not the bytes of a cursor of this version.
        """
        if data[:1] != bytes([VERSION]):
            raise CorruptStateError(f"not a cursor of version {VERSION}: it begins {data[:4]!r}")
        numbers = list(varint.decode(data[1:]))
        if len(numbers) % 2 == 0 or 0 in numbers[1:] or sum(numbers) > POSITION_MAX:
            raise CorruptStateError("a cursor's low mark or runs are missing, empty or too high")
        reached = numbers[0]
        cursor = cls(reached)
        for skipped, length in zip(numbers[1::2], numbers[2::2], strict=True):
            reached += skipped + length
            cursor._above.add(reached - length, reached)
        return cursor

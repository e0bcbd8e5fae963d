"""The memory that a node gives to its timing wheels, in equal shares for its partitions."""

from __future__ import annotations

from typing import Final

from chronosdb.sched.level import TIMER_BYTES

#: A wheel of fewer would do nothing but be filled.
_FEWEST: Final = 4


class TimerMemory:
    """How many timers each partition may have at hand."""

    def __init__(self, nbytes: int = 64 * 1024 * 1024) -> None:
        self._nbytes = nbytes
        self._partitions: set[str] = set()

    def join(self, partition: str) -> None:
        """This partition has a share from now on."""
        self._partitions.add(partition)

    def leave(self, partition: str) -> None:
        """This partition is no more; fine if it had no share."""
        self._partitions.discard(partition)

    @property
    def share(self) -> int:
        """Timers for each partition."""
        each = self._nbytes // TIMER_BYTES // max(1, len(self._partitions))
        return max(_FEWEST, each)

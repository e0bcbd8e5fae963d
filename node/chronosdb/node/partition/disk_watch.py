"""What an operator is told about a partition's disk: that it is slow, full, or has space again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from chronosdb.node.partition.histogram import Histogram
from chronosdb.wal import Log

logger = logging.getLogger(__name__)

_SLOW_S: Final = 1.0
#: A slow disk is slow for long: once in this time is said enough.
_SILENCE_S: Final = 60.0


class DiskWatch:
    """Times fsyncs, and says once what has changed. Used by one task, or its thread, at a time."""

    def __init__(self, name: str, log: Log, timings: Histogram) -> None:
        self._name = name
        self._log = log
        self._timings = timings
        #: When a slow fsync was last spoken of.
        self._warned_s: float | None = None
        self._is_full = False

    def sync(self, monotonic_s: Callable[[], float]) -> None:
        """`Log.sync`, timed with this clock; raises what that raises."""
        began_s = monotonic_s()
        self._log.sync()
        now_s = monotonic_s()
        self._timings.add(now_s - began_s)
        if now_s - began_s > _SLOW_S and not self._silent(now_s):
            self._warned_s = now_s
            logger.warning(
                "%s: an fsync took %.1f s; acks wait for it. Is the disk failing, or shared?",
                self._name,
                now_s - began_s,
            )

    def full(self) -> None:
        """There was no space for events."""
        if not self._is_full:
            self._is_full = True
            logger.warning(
                "%s: the disk is full; publishes are refused, the rest goes on in the reserve",
                self._name,
            )

    def stored(self) -> None:
        """There was."""
        if self._is_full:
            self._is_full = False
            logger.info("%s: there is disk space again", self._name)

    def _silent(self, now_s: float) -> bool:
        return self._warned_s is not None and now_s - self._warned_s < _SILENCE_S

"""The checkpointer: saves a partition's views beside the committer, in a thread of its own.

The picture is taken at once, between two write groups; only writing it takes time, and publishing
goes on meanwhile. Losing a checkpoint loses nothing: the log's tail is re-applied at the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.environment import Environment
from chronosdb.node.partition.histogram import Histogram
from chronosdb.node.partition.state import PartitionState

logger = logging.getLogger(__name__)

_FULL_DISK_PAUSE_S: Final = 1.0


class Checkpointer:
    """Saves views after `nbytes` of log, or `interval_ms` after the first change."""

    def __init__(
        self,
        env: Environment,
        state: PartitionState,
        *,
        nbytes: int,
        interval_ms: int,
        has_space: Callable[[], bool],
        timings: Histogram,
    ) -> None:
        self._env = env
        self._state = state
        self._nbytes = nbytes
        self._interval_ms = interval_ms
        #: LevelDB is done for after a failed write, so nothing is written to a disk that is full.
        self._has_space = has_space
        self._timings = timings
        #: When the first change since the last checkpoint was seen; None: the views are saved.
        self._changed_ms: int | None = None
        self._changed = Signal()
        #: Held while a checkpoint is written: it reads the log.
        self.saving = trio.Lock()
        #: Called just before the picture is taken.
        self.before: Callable[[], None] = lambda: None

    def changed(self) -> None:
        """Records were applied."""
        first = self._changed_ms is None
        if first:
            self._changed_ms = self._env.clock.now_ms()
        if first or self._state.applied_lsn - self._state.saved_lsn >= self._nbytes:
            self._changed.set()

    async def run(self) -> None:
        """Save when due, for ever."""
        while True:
            due_ms = None if self._changed_ms is None else self._changed_ms + self._interval_ms
            await self._env.clock.wait(self._changed, due_ms)
            if self._is_due() and not self._has_space():
                logger.warning("no disk space for a checkpoint; it is tried again")
                await trio.sleep(_FULL_DISK_PAUSE_S)
            elif self._is_due():
                await self.save()

    async def save(self) -> None:
        """Save now. Once begun it is not cancelled: what is in the picture is marked as saved."""
        async with self.saving:
            self._changed_ms = None
            began_s = trio.current_time()
            with trio.CancelScope(shield=True):
                self.before()
                checkpoint = self._state.begin_checkpoint()
                await self._env.threads.run(checkpoint.write)
                self._state.end_checkpoint(checkpoint)
        self._timings.add(trio.current_time() - began_s)

    def _is_due(self) -> bool:
        if self._changed_ms is None:
            return False
        if self._state.applied_lsn - self._state.saved_lsn >= self._nbytes:
            return True
        return self._env.clock.now_ms() >= self._changed_ms + self._interval_ms

"""Applying what is committed: the state of a copy follows its log, but never ahead of the high watermark.

The state changes on the event loop only, some records at a time; records that are not in memory any
more are read by a thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

from chronosdb.node.environment import Threads
from chronosdb.node.partition.opening import OpenCopy
from chronosdb.wal import Log, Record

#: Between two breaths.
_STEP_RECORDS: Final = 32
_STEP_BYTES: Final = 256 * 1024
#: Written and not yet committed, kept so that it need not be read again.
_KEPT_BYTES: Final = 8 * 1024 * 1024


class Applier:
    """Of one copy."""

    def __init__(self, threads: Threads, copy: OpenCopy) -> None:
        self._threads = threads
        self._log = copy.log
        self._state = copy.state
        #: Invariant: neighbours, the last of them at the end of the log.
        self._recent: deque[Record] = deque()
        self._nbytes = 0

    def written(self, records: Sequence[Record]) -> None:
        """These were just added to the log."""
        self._recent.extend(records)
        self._nbytes += sum(record.nbytes for record in records)
        while self._nbytes > _KEPT_BYTES:
            self._nbytes -= self._recent.popleft().nbytes

    def forget(self) -> None:
        """The end of the log was taken back."""
        self._recent.clear()
        self._nbytes = 0

    async def apply_up_to(self, lsn: int) -> None:
        """Apply all records below `lsn`, where a record ends; all of them are committed.

        Raises:
            DamagedRecord: one of them cannot be read.
        """
        state = self._state
        while state.applied_lsn < lsn:
            for record in await self._next(lsn):
                state.apply(record)
            state.timers.place()
            await trio.lowlevel.checkpoint()

    async def _next(self, lsn: int) -> Sequence[Record]:
        applied = self._state.applied_lsn
        while self._recent and self._recent[0].lsn < applied:
            self._nbytes -= self._recent.popleft().nbytes
        if not self._recent or self._recent[0].lsn > applied:
            return await self._threads.run(_some, self._log, applied, lsn)
        records: list[Record] = []
        nbytes = 0
        while self._recent and len(records) < _STEP_RECORDS and nbytes < _STEP_BYTES:
            if self._recent[0].next_lsn > lsn:
                break
            records.append(self._recent.popleft())
            nbytes += records[-1].nbytes
        self._nbytes -= nbytes
        return records


def _some(log: Log, start_lsn: int, stop_lsn: int) -> list[Record]:
    """The first records of a range."""
    records: list[Record] = []
    nbytes = 0
    for record in log.scan(start_lsn, stop_lsn):
        records.append(record)
        nbytes += record.nbytes
        if len(records) >= _STEP_RECORDS or nbytes >= _STEP_BYTES:
            break
    return records

"""What a replay may know of a partition: the committed part of its log, and a reader of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from chronosdb.node.environment import Threads
from chronosdb.node.partition.committer import Committer
from chronosdb.node.partition.due import Int64s
from chronosdb.node.partition.reader import EventReader, first_since
from chronosdb.node.partition.state import PartitionState
from chronosdb.wal import Log, Record

#: Reading pauses after so much, that others may run.
_STEP_RECORDS: Final = 16
_STEP_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class History:
    """A partition's committed past."""

    log: Log
    #: Shares nothing with the deliveries' reader: a replay must not push hot records out of its cache.
    reader: EventReader
    committer: Committer
    state: PartitionState
    threads: Threads

    @property
    def end_offset(self) -> int:
        """Offsets below this are committed."""
        return self.committer.end_offset

    @property
    def end_position(self) -> int:
        """Positions below this are committed."""
        return self.committer.end_position

    @property
    def end_lsn(self) -> int:
        """Records below this are committed."""
        return self.state.applied_lsn

    def oldest(self) -> Record:
        """The oldest record that is still stored: its offset and position are the first there are."""
        return self.log.read(self.log.start_lsn)

    def since(self, ms: int) -> Record | None:
        """The first record written at `ms` or later."""
        return first_since(self.log, ms)

    def cancelled(self, offsets: Int64s) -> Int64s:
        """Which of `offsets` are cancelled."""
        mask = self.state.timers.cancelled.filter(offsets)
        return offsets if mask is None else offsets[mask]

    def follow(self, woken: Callable[[], None]) -> Callable[[], None]:
        """Call `woken` whenever more is committed, until the returned function is called."""
        listeners = self.committer.listeners
        listeners.append(woken)
        return lambda: listeners.remove(woken)


class Breath:
    """Lets other tasks run between the steps of long reading."""

    def __init__(self) -> None:
        self._records = 0
        self._nbytes = 0

    async def after(self, nbytes: int) -> None:
        """A record of so many bytes was read."""
        self._records += 1
        self._nbytes += nbytes
        if self._records >= _STEP_RECORDS or self._nbytes >= _STEP_BYTES:
            self._records = self._nbytes = 0
            await trio.lowlevel.checkpoint()

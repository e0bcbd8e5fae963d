"""A node whose disk is full leads nothing while others can: they have room, and publishers need not wait.

It follows as far as its disk allows, leaves the in-sync sets when it falls behind, and comes back by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from chronosdb.wal import Disk

logger = logging.getLogger(__name__)

_LOOK_S: Final = 1.0


class DiskRoom:
    """Watches the room on the disk of one node."""

    def __init__(
        self, disk: Disk, directory: str, reserve_bytes: int, abstain: Callable[[bool], None]
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._reserve_bytes = reserve_bytes
        self._abstain = abstain
        self._is_full = False

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            self._look()
            await trio.sleep(_LOOK_S)

    def _look(self) -> None:
        free = self._disk.free_bytes(self._directory)
        # Not only when nothing fits any more: large batches would be refused, and nobody else would lead. And
        # not at once when there is a little again: leaders should not move to and fro.
        enough = self._reserve_bytes * (20 if self._is_full else 17) // 16
        is_full = self._reserve_bytes > 0 and free <= enough
        if is_full == self._is_full:
            return
        self._is_full = is_full
        self._abstain(is_full)
        if is_full:
            logger.warning("the disk is full: %d bytes are free; others lead while they can", free)
        else:
            logger.info("there is disk space again: this node may lead")

"""A node's lease: for how long it may lead, after which it must have stopped by itself (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import final


@final
class Always:
    """The lease of a node alone. Implements `replication.assignment.LeaseView`."""

    held = True

    def watch(self, on_change: Callable[[bool], None]) -> None:
        """It never changes."""

    def refused(self, topic_id: int, partition: int, epoch: int) -> None:
        """There is nobody who could."""

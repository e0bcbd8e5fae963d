"""Publishes that are committed, but are to be on all in-sync replicas before they are answered."""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from chronosdb.node.clock import Signal
from chronosdb.node.partition.acks import Deposed, Replication
from chronosdb.node.partition.staging import Proposal


class LateAnswers:
    """Those of one partition. The groups that are written next do not wait for them."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        #: And up to which lsn all replicas must have the log; in the order of the log.
        self._waiting: deque[tuple[int, Proposal]] = deque()
        self._added = Signal()

    def add(self, lsn: int, proposal: Proposal) -> None:
        """Answer it when all replicas have everything below `lsn`."""
        self._waiting.append((lsn, proposal))
        self._added.set()

    def take_all(self) -> list[Proposal]:
        """Those that were not answered; nobody will."""
        taken = [proposal for _, proposal in self._waiting]
        self._waiting.clear()
        return taken

    async def run(self) -> None:
        """Answer, until cancelled, or until there is nothing more to be known."""
        with suppress(Deposed):
            while True:
                await self._added.wait()
                while self._waiting:
                    await self._replication.everywhere(self._waiting[0][0])
                    if self._waiting:  # else all were taken just when the first was everywhere
                        self._waiting.popleft()[1].committed()

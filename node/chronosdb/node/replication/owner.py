"""What each copy needs of its node."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from chronosdb.node.environment import Threads
from chronosdb.node.replication.assignment import Propose
from chronosdb.node.replication.fences import Fences
from chronosdb.node.replication.leader import TermOwner
from chronosdb.node.replication.mending import Mender


@dataclass(frozen=True, slots=True)
class CopyOwner:
    """The node, as its copies see it."""

    threads: Threads
    term: TermOwner
    propose: Propose
    lag_max_s: float
    fences: Fences
    #: Held by who changes the fences.
    promising: trio.Lock
    #: Copies that are being opened and of which the fences do not know yet.
    arriving: set[str]
    mender: Mender

    async def note_held(self, name: str) -> None:
        """Note that there is this copy, before it acknowledges anything. Those that come together cost one write.

        Raises:
            DiskFull: it is not noted.
        """
        if self.fences.was_held(name):
            return
        self.arriving.add(name)
        try:
            async with self.promising:
                if not self.fences.was_held(name):
                    await self.threads.run(self.fences.hold, frozenset(self.arriving))
        finally:
            self.arriving.discard(name)

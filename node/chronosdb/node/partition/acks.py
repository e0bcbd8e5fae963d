"""When a write counts as done: which copies must have it on disk before it is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Protocol

from chronosdb.wal import DamagedRecord
from chronosdb.wire.errors import ChronosError


class Acks(IntEnum):
    """What a publisher waits for; without replicas all are the same."""

    #: The leader's disk. A failover may lose it.
    LEADER = 0
    #: A quorum of the in-sync replicas: no failover loses it.
    QUORUM = 1
    #: All in-sync replicas.
    ALL = 2


class Deposed(Exception):
    """This node does not lead the partition any more; what waited is to be told `error`."""

    def __init__(self, error: ChronosError) -> None:
        super().__init__(error.message)
        self.error = error


class Replication(Protocol):
    """The other copies of a partition, as its committer sees them."""

    def appended(self) -> None:
        """There are new records in the log, not synced here yet: send them."""
        ...

    def synced(self) -> None:
        """The log is durable up to its `synced_lsn`."""
        ...

    async def committed(self, lsn: int) -> None:
        """Return when everything below `lsn` is committed: it will never be lost.

        Raises:
            Deposed: that will not be known here.
        """
        ...

    async def everywhere(self, lsn: int) -> None:
        """Return when all in-sync replicas have everything below `lsn`. Raises Deposed."""
        ...

    def damaged(self, error: DamagedRecord) -> None:
        """What is to be read next is damaged here: this node leads no more, before that is mended."""
        ...


async def unless_damaged(
    replication: Replication | None, work: Callable[[], Awaitable[None]]
) -> None:
    """Do it. Damage that it meets ends this leadership, or, of a node alone, the node.

    Raises:
        DamagedRecord: there are no replicas.
    """
    try:
        await work()
    except DamagedRecord as error:
        if replication is None:
            raise
        replication.damaged(error)

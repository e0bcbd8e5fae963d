"""Who holds a partition, as the metadata say it; and what replication wants of the rest of the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from chronosdb.node.partition.partition import PartitionId


@dataclass(frozen=True, slots=True)
class Assignment:
    """One partition, at one moment."""

    #: Empty: nobody leads it now.
    leader: str
    epoch: int
    #: Who holds it, the preferred leader first.
    replicas: tuple[str, ...]
    #: Of them, who counts for what is committed.
    isr: tuple[str, ...]
    #: Tells one state of it from the next: the precondition of a change.
    version: int
    #: Replicas that are about to be taken away: they are to leave the ISR.
    leaving: tuple[str, ...] = ()
    #: The ISR may not become smaller than this.
    min_insync: int = 1


#: (partition, what is to be changed, its next ISR) → the partition as it is in the metadata afterwards:
#: if it has the version that was to be changed, the change was refused for good. None: nobody knows.
Propose: TypeAlias = Callable[
    [PartitionId, Assignment, tuple[str, ...]], Awaitable[Assignment | None]
]


class LeaseView(Protocol):
    """Whether this node may lead at all, now: while the controller hears it."""

    @property
    def held(self) -> bool:
        """Whether it may."""
        ...

    def watch(self, on_change: Callable[[bool], None]) -> None:
        """Call this whenever that has changed."""
        ...

    def refused(self, topic_id: int, partition: int, epoch: int) -> None:
        """This node cannot lead the partition under this `epoch` any more: it is promised to a newer one."""
        ...

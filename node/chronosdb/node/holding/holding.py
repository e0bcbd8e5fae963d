"""What the broker wants of whoever holds this node's partitions, and what it is told by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from chronosdb.node.partition.partition import Partition
from chronosdb.raft import TopicInfo
from chronosdb.wire.errors import ChronosError


@dataclass(slots=True)
class Hooks:
    """Who is told of what happens to partitions. Set before `Holding.run`."""

    #: A partition was opened here; it has committed nothing yet.
    on_opened: Callable[[Partition], None] = lambda _partition: None
    #: A partition is led here from now on.
    on_led: Callable[[Partition], None] = lambda _partition: None
    #: A partition is not led here any more; its files may be another node's concern now.
    on_deposed: Callable[[Partition], None] = lambda _partition: None
    #: Of these topics partitions are led by others than before, or can be reached elsewhere.
    on_leaders_changed: Callable[[frozenset[str]], None] = lambda _topics: None


class Holding(Protocol):
    """The partitions that this node holds."""

    hooks: Hooks

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Hold them until `stop`; started when what this node has is open."""
        ...

    def stop(self) -> None:
        """Let every partition finish what is queued; `run` returns when all have."""
        ...

    def leading(self, info: TopicInfo, index: int) -> Partition | None:
        """The partition, if it is led here and serves."""
        ...

    def elsewhere(self, info: TopicInfo, index: int) -> ChronosError:
        """What to tell who asks for a partition that is not led here."""
        ...

    def open_partitions(self) -> list[Partition]:
        """Those that are led here, by topic in the order in which topics were made."""
        ...

    def leaders(self, info: TopicInfo) -> list[str]:
        """Where clients reach the leader of each partition.

        Empty: of a node alone, here; in a cluster, nobody leads it.
        """
        ...

    def addresses(self) -> list[str]:
        """Where clients reach the nodes of the cluster; nothing if there is only this one."""
        ...

    async def created(self, info: TopicInfo) -> None:
        """A topic was made: return when all its partitions are served.

        Raises:
            Overloaded: that takes too long.
        """
        ...

    async def deleted(self, info: TopicInfo) -> None:
        """A topic was deleted: return when nothing of it is left here."""
        ...

"""A node alone holds every partition there is, and leads it."""

from __future__ import annotations

import logging
from typing import Final

import trio

from chronosdb.node.environment import Environment
from chronosdb.node.holding.holding import Hooks
from chronosdb.node.holding.opener import Opener
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition.partition import Partition, PartitionId
from chronosdb.raft import TopicInfo
from chronosdb.wire.errors import ChronosError, Overloaded

logger = logging.getLogger(__name__)

_OPENED_AT_ONCE: Final = 4


class Everything:
    """Implements `Holding`."""

    def __init__(self, env: Environment, node_id: str, metadata: Metadata, opener: Opener) -> None:
        self.hooks = Hooks()
        self._env = env
        self._node_id = node_id
        self._metadata = metadata
        self._opener = opener
        self._partitions: dict[tuple[int, int], Partition] = {}
        self._opening = trio.CapacityLimiter(_OPENED_AT_ONCE)
        self._nursery: trio.Nursery | None = None
        self._stopping = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """See `Holding.run`: started when all partitions are open."""
        await self._env.threads.run(self._opener.remove_orphans, self._metadata.view)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            async with trio.open_nursery() as opening:
                for topic in self._metadata.view.topics.values():
                    for index in range(topic.partitions):
                        opening.start_soon(nursery.start, self._serve, topic, index)
            logger.info(
                "%d partitions of %d topics are open; %d events are pending",
                len(self._partitions),
                len(self._metadata.view.topics),
                sum(len(p.state.timers.pending) for p in self._partitions.values()),
            )
            task_status.started()
            await self._stopping.wait()

    def stop(self) -> None:
        """See `Holding.stop`."""
        self._stopping.set()
        for partition in self._partitions.values():
            partition.stop()

    def leading(self, info: TopicInfo, index: int) -> Partition | None:
        """See `Holding.leading`."""
        return self._partitions.get((info.id, index))

    def elsewhere(self, info: TopicInfo, index: int) -> ChronosError:
        """See `Holding.elsewhere`: there is nowhere else."""
        return Overloaded(f"partition {index} of topic {info.name!r} is not open yet; try again")

    def open_partitions(self) -> list[Partition]:
        """See `Holding.open_partitions`."""
        return [self._partitions[key] for key in sorted(self._partitions)]

    def leaders(self, info: TopicInfo) -> list[str]:
        """See `Holding.leaders`: whoever asks is at the right place."""
        return [""] * info.partitions

    def addresses(self) -> list[str]:
        """See `Holding.addresses`."""
        return []

    async def created(self, info: TopicInfo) -> None:
        """See `Holding.created`."""
        for index in range(info.partitions):
            if (info.id, index) not in self._partitions:
                if self._nursery is None or self._stopping.is_set():
                    raise Overloaded("the node is starting or stopping; try again soon")
                await self._nursery.start(self._serve, info, index)

    async def deleted(self, info: TopicInfo) -> None:
        """See `Holding.deleted`."""
        for index in range(info.partitions):
            partition = self._partitions.pop((info.id, index), None)
            if partition is not None:  # else it could not be opened
                self.hooks.on_deposed(partition)
                partition.stop()
                await partition.closed.wait()
                await self._env.threads.run(self._opener.remove, partition.id)

    async def _serve(self, info: TopicInfo, index: int, task_status: trio.TaskStatus[None]) -> None:
        """Open a partition and serve it until it is stopped; started when it serves."""
        identity = PartitionId(info.name, info.id, index)
        async with self._opening:
            partition = await self._env.threads.run(self._opener.opening(identity, info).open)
        self.hooks.on_opened(partition)
        async with trio.open_nursery() as nursery:
            await nursery.start(partition.run, self._node_id, info.epochs[index])
            self._partitions[info.id, index] = partition
            self.hooks.on_led(partition)
            if self._stopping.is_set():
                partition.stop()
            task_status.started()

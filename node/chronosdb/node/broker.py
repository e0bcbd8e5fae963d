"""The broker: which topics there are, and the partitions of them that this node serves."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import trio

from chronosdb.node.committer import CommitOptions
from chronosdb.node.dead_letters import SUFFIX, DeadLetterOffice
from chronosdb.node.environment import Environment
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition import Partition, PartitionId, options_for, policy_for
from chronosdb.node.reader import RecordCache
from chronosdb.node.reply import Reply
from chronosdb.raft import BumpEpochs, CreateTopic, PutGroup, RegisterNode, TopicInfo
from chronosdb.sched import RetryPolicy
from chronosdb.wal import DiskFull, KeyValue, LogOptions
from chronosdb.wal.layout import DataDir
from chronosdb.wire.errors import ChronosError, InvalidArgument, NotFound, Overloaded
from chronosdb.wire.limits import MAX_NAME_CHARS

logger = logging.getLogger(__name__)

_OPENED_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """The node's defaults for its partitions; a topic's settings go over them."""

    log: LogOptions
    commit: CommitOptions
    retry: RetryPolicy
    cache_bytes: int


class Broker:
    """Topics and partitions of one node."""

    def __init__(
        self,
        env: Environment,
        data_dir: DataDir,
        node_id: str,
        *,
        metadata: Metadata,
        views: KeyValue,
        options: BrokerOptions,
    ) -> None:
        self._env = env
        self._data_dir = data_dir
        self._node_id = node_id
        self._metadata = metadata
        self._views = views
        self._options = options
        self._cache = RecordCache(options.cache_bytes)
        self._partitions: dict[tuple[int, int], Partition] = {}
        self._nursery: trio.Nursery | None = None
        self._opening = trio.CapacityLimiter(_OPENED_AT_ONCE)
        #: One topic is created at a time, so that a topic that is known has its partitions open.
        self._creating = trio.Lock()
        self._dead_letters = DeadLetterOffice(self)
        self._stopping = False

    async def run(self, address: str, task_status: trio.TaskStatus[None]) -> None:
        """Serve this node's partitions until `stop`; started when all of them are open."""
        await self._metadata.submit(RegisterNode(self._node_id, address, self._env.clock.now_ms()))
        await self._metadata.submit(BumpEpochs(self._node_id))
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            async with trio.open_nursery() as opening:
                for topic in self._metadata.view.topics.values():
                    for index in range(topic.partitions):
                        opening.start_soon(self._open_partition, topic, index)
            nursery.start_soon(self._dead_letters.run)
            task_status.started()

    def stop(self) -> None:
        """Let every partition finish what is queued; `run` returns when all have."""
        self._stopping = True
        self._dead_letters.stop()
        for partition in self._partitions.values():
            partition.stop()

    def topics(self) -> list[TopicInfo]:
        """All topics, by name."""
        return [info for _, info in sorted(self._metadata.view.topics.items())]

    def topic(self, name: str) -> TopicInfo:
        """One topic.

        Raises:
            NotFound: there is none of that name.
        """
        info = self._metadata.view.topics.get(name)
        if info is None:
            raise NotFound(f"there is no topic {name!r}; create it first (create_topic)")
        return info

    def partition(self, topic: str, index: int) -> Partition:
        """A partition that this node leads.

        Raises:
            NotFound: no such topic or partition.
            Overloaded: it is not open yet.
        """
        info = self.topic(topic)
        partition = self._partitions.get((info.id, index))
        if partition is not None:
            return partition
        if index < info.partitions:
            raise Overloaded(f"partition {index} of topic {topic!r} is not open yet; try again")
        raise NotFound(f"topic {topic!r} has {info.partitions} partitions; {index} is none of them")

    def partitions(self, topic: str) -> list[Partition]:
        """All partitions of a topic."""
        return [self.partition(topic, index) for index in range(self.topic(topic).partitions)]

    async def create_topic(
        self, name: str, partitions: int, settings: Mapping[str, int]
    ) -> tuple[TopicInfo, bool]:
        """Create a topic, or confirm an equal one; whether it is new.

        Raises:
            Conflict: a topic of that name has other partitions or settings.
            InvalidArgument: a name, number or setting is not allowed.
        """
        if self._nursery is None or self._stopping:
            raise Overloaded("the node is starting or stopping; try again soon")
        # In a task of the broker's: a client that goes away must not leave a topic half made.
        reply = Reply[tuple[TopicInfo, bool] | ChronosError]()
        command = CreateTopic(name, partitions, settings)
        self._nursery.start_soon(self._create_topic, command, reply)
        outcome = await reply.get()
        if isinstance(outcome, ChronosError):
            raise outcome
        return outcome

    async def put_group(self, topic: str, group: str, mode: str) -> None:
        """Make sure that a group exists.

        Raises:
            Conflict: it exists with the other mode.
        """
        known = self._metadata.view.groups.get((topic, group))
        if known is None or known.mode != mode:
            await self._metadata.submit(PutGroup(topic, group, mode))

    def retry_policy(self, topic: str) -> RetryPolicy:
        """How deliveries of a topic are retried."""
        return policy_for(self._options.retry, self.topic(topic).settings)

    async def _create_topic(
        self, command: CreateTopic, reply: Reply[tuple[TopicInfo, bool] | ChronosError]
    ) -> None:
        try:
            async with self._creating:
                _check_topic_name(command.name)
                policy_for(self._options.retry, command.settings)
                result = await self._metadata.submit(command)
                info = self.topic(command.name)
                for index in range(info.partitions):
                    if (info.id, index) not in self._partitions:
                        await self._open_partition(info, index)
        except ChronosError as error:
            reply.set(error)
        except DiskFull as error:
            reply.set(Overloaded(f"no disk space for topic {command.name!r}: {error}"))
        else:
            reply.set((info, result.created))

    async def _open_partition(self, info: TopicInfo, index: int) -> None:
        assert self._nursery is not None
        identity = PartitionId(info.name, info.id, index)
        async with self._opening:
            partition = await self._env.threads.run(self._open, identity, info)
        await self._nursery.start(partition.run, self._node_id, info.epochs[index])
        self._partitions[info.id, index] = partition
        if self._stopping:
            partition.stop()

    def _open(self, identity: PartitionId, info: TopicInfo) -> Partition:
        """Runs in a worker thread."""
        return Partition.open(
            self._env,
            identity,
            directory=self._data_dir.partition(identity.directory),
            views=self._views,
            cache=self._cache,
            log_options=self._options.log,
            options=options_for(self._options.commit, info.settings),
            on_dead_letters=self._dead_letters.post,
        )


def _check_topic_name(name: str) -> None:
    """Every topic must be able to have a dead-letter topic."""
    longest = MAX_NAME_CHARS - len(SUFFIX)
    if len(name) > longest and not name.endswith(SUFFIX):
        raise InvalidArgument(
            f"a topic name of {len(name)} characters leaves no room for {SUFFIX!r};"
            f" at most {longest} are allowed"
        )

"""The broker: which topics there are, and the partitions of them that this node serves."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import trio

from chronosdb.node import faults
from chronosdb.node.dead_letters import DeadLetterOffice
from chronosdb.node.environment import Environment
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.partition.partition import (
    Partition,
    PartitionId,
    options_for,
    policy_for,
    retention_for,
)
from chronosdb.node.partition.reader import RecordCache
from chronosdb.node.partition.retirement import RetentionLimits
from chronosdb.node.removal import remove_orphans, remove_partition
from chronosdb.node.reply import Reply
from chronosdb.raft import (
    BumpEpochs,
    CreateTopic,
    DeleteGroup,
    DeleteTopic,
    GroupInfo,
    PutGroup,
    RegisterNode,
    TopicInfo,
)
from chronosdb.sched import RetryPolicy
from chronosdb.wal import DiskFull, KeyValue, LogOptions
from chronosdb.wal.layout import DataDir
from chronosdb.wire.errors import ChronosError, InvalidArgument, NotFound, Overloaded
from chronosdb.wire.letters import SUFFIX
from chronosdb.wire.limits import MAX_NAME_CHARS
from chronosdb.wire.units import format_duration

logger = logging.getLogger(__name__)

T = TypeVar("T")

_OPENED_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """The node's defaults for its partitions; a topic's settings go over them."""

    log: LogOptions
    commit: CommitOptions
    retry: RetryPolicy
    retention: RetentionLimits
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
        #: One topic is created or deleted at a time: one that is known has its partitions open.
        self._changing = trio.Lock()
        self._dead_letters = DeadLetterOffice(self)
        self._stopping = False
        #: Told of each partition that was opened, before it commits anything.
        self.on_opened: Callable[[Partition], None] = lambda _partition: None
        #: Told when there is another open partition.
        self.on_serving: Callable[[], None] = lambda: None

    async def run(self, address: str, task_status: trio.TaskStatus[None]) -> None:
        """Serve this node's partitions until `stop`; started when all of them are open."""
        known = self._metadata.view.nodes.get(self._node_id)
        # Counted, not timed: after a clock step back this life would seem older than the last.
        incarnation = 1 if known is None else known.incarnation + 1
        await self._metadata.submit(RegisterNode(self._node_id, address, incarnation))
        await self._metadata.submit(BumpEpochs(self._node_id))
        await self._env.threads.run(
            remove_orphans, self._env.disk, self._data_dir, self._views, self._metadata.view
        )
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            async with trio.open_nursery() as opening:
                for topic in self._metadata.view.topics.values():
                    for index in range(topic.partitions):
                        opening.start_soon(self._open_partition, topic, index)
            nursery.start_soon(self._dead_letters.run)
            logger.info(
                "%d partitions of %d topics are open; %d events are pending",
                len(self._partitions),
                len(self._metadata.view.topics),
                sum(len(p.state.timers.pending) for p in self._partitions.values()),
            )
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

    def open_partitions(self) -> list[Partition]:
        """The partitions that are open now, by topic in the order in which topics were made."""
        return [self._partitions[key] for key in sorted(self._partitions)]

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
        command = CreateTopic(name, partitions, settings)
        return await self.to_the_end(partial(self._create_topic, command))

    async def dead_letter_topic(self, name: str) -> TopicInfo:
        """The dead-letter topic of this name, made where there is none yet.

        One that the user made, with other partitions or settings, will do.
        """
        try:
            return self.topic(name)
        except NotFound:
            return (await self.create_topic(name, 1, {}))[0]

    async def delete_topic(self, name: str) -> None:
        """Delete a topic with its groups and all its events.

        Raises:
            NotFound: there is none of that name.
        """
        await self.to_the_end(partial(self._delete_topic, name))

    async def to_the_end(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns, done in a task of the broker's.

        A client that goes away meanwhile must not leave it half done.

        Raises:
            ChronosError: that of `work`.
            Overloaded: the node is starting or stopping.
        """
        if self._nursery is None or self._stopping:
            raise Overloaded("the node is starting or stopping; try again soon")
        reply = Reply[T | ChronosError]()
        self._nursery.start_soon(_reply_with, work, reply)
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
            await self._metadata.change(PutGroup(topic, group, mode))
            logger.info("group %s of topic %s was created", group, topic)

    async def delete_group(self, topic: str, group: str) -> None:
        """Let the metadata forget a group.

        Raises:
            NotFound: there is no such group.
        """
        await self._metadata.change(DeleteGroup(topic, group))

    def groups(self, topic: str) -> list[GroupInfo]:
        """The groups of a topic, by name; raises NotFound when there is no such topic."""
        self.topic(topic)
        return [g for (of, _), g in sorted(self._metadata.view.groups.items()) if of == topic]

    def group(self, topic: str, name: str) -> GroupInfo:
        """One group.

        Raises:
            NotFound: no such topic, or no such group of it.
        """
        info = self._metadata.view.groups.get((self.topic(topic).name, name))
        if info is None:
            raise NotFound(f"topic {topic!r} has no group {name!r}")
        return info

    def retry_policy(self, topic: str) -> RetryPolicy:
        """How deliveries of a topic are retried."""
        return policy_for(self._options.retry, self.topic(topic).settings)

    def max_delay_ms(self, topic: str) -> int:
        """How far ahead a topic's events may be due; 0: no limit. Raises NotFound."""
        return options_for(self._options.commit, self.topic(topic).settings).max_delay_ms

    async def _create_topic(self, command: CreateTopic) -> tuple[TopicInfo, bool]:
        async with self._changing:
            _check_topic_name(command.name)
            _check_effect(command.settings)
            self._check_retention(command.settings)
            policy_for(self._options.retry, command.settings)
            result = await self._metadata.change(command)
            info = self.topic(command.name)
            for index in range(info.partitions):
                if (info.id, index) not in self._partitions:
                    await self._open_partition(info, index)
        if result.created:
            logger.info("topic %s was created", info.name)
        return info, result.created

    def _check_retention(self, settings: Mapping[str, int]) -> None:
        """The bytes of events are needed for as long as their ids are known."""
        retention_ms = settings.get("retention_ms", self._options.retention.ms)
        window_ms = settings.get("dedup_window_ms", self._options.commit.dedup_window_ms)
        if 0 < retention_ms < window_ms:
            raise InvalidArgument(
                f"retention_ms is {format_duration(retention_ms)}, shorter than dedup_window_ms,"
                f" {format_duration(window_ms)}: a repeated publish is told from a conflict by the"
                " first one's bytes. Shorten dedup_window_ms too"
            )

    async def _delete_topic(self, name: str) -> None:
        async with self._changing:
            info = self.topic(name)
            await self._metadata.change(DeleteTopic(name))
            for index in range(info.partitions):
                await self._remove_partition(info.id, index)
        logger.info("topic %s was deleted", name)

    async def _remove_partition(self, topic_id: int, index: int) -> None:
        partition = self._partitions.pop((topic_id, index), None)
        if partition is None:  # it could not be opened
            return
        partition.stop()
        await partition.closed.wait()
        await self._env.threads.run(
            remove_partition, self._env.disk, self._data_dir, self._views, partition.id
        )

    async def _open_partition(self, info: TopicInfo, index: int) -> None:
        assert self._nursery is not None
        identity = PartitionId(info.name, info.id, index)
        async with self._opening:
            partition = await self._env.threads.run(self._open, identity, info)
        self.on_opened(partition)
        await self._nursery.start(partition.run, self._node_id, info.epochs[index])
        self._partitions[info.id, index] = partition
        self.on_serving()
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
            retention=retention_for(self._options.retention, info.name, info.settings),
            on_dead_letters=self._dead_letters.post,
        )


async def _reply_with(work: Callable[[], Awaitable[T]], reply: Reply[T | ChronosError]) -> None:
    try:
        reply.set(await work())
    except ChronosError as error:
        reply.set(error)
    except DiskFull as error:
        reply.set(faults.of_log(error))


def _check_effect(settings: Mapping[str, int]) -> None:
    """A promise that this version cannot keep is refused, not noted."""
    if settings.get("replication", 1) != 1:
        raise InvalidArgument(
            "replication: this is a single node, which keeps one copy; leave it at 1"
        )


def _check_topic_name(name: str) -> None:
    """Every topic must be able to have a dead-letter topic."""
    longest = MAX_NAME_CHARS - len(SUFFIX)
    if len(name) > longest and not name.endswith(SUFFIX):
        raise InvalidArgument(
            f"a topic name of {len(name)} characters leaves no room for {SUFFIX!r};"
            f" at most {longest} are allowed"
        )

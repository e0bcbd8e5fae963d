"""The broker: which topics and groups there are, and the partitions of them that this node leads."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import trio

from chronosdb.node import faults
from chronosdb.node.dead_letters import DeadLetterOffice
from chronosdb.node.fanout.fanout import Fanout
from chronosdb.node.fanout.routes import Routes
from chronosdb.node.holding.holding import Holding, Hooks
from chronosdb.node.holding.opener import Opener
from chronosdb.node.locks import Locks
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition.partition import Partition, options_for, policy_for
from chronosdb.node.reply import Reply
from chronosdb.node.topic_rules import check_alone, check_topic, with_copies
from chronosdb.raft import CreateTopic, DeleteGroup, DeleteTopic, GroupInfo, PutGroup, TopicInfo
from chronosdb.sched import RetryPolicy
from chronosdb.wal import DiskFull
from chronosdb.wire.errors import ChronosError, NotFound, Overloaded
from chronosdb.wire.letters import SUFFIX

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: The settings that say how safe a topic's events are.
_SAFETY: Final = ("replication", "min_insync", "acks")


class Broker:
    """Topics and partitions of one node."""

    def __init__(
        self,
        metadata: Metadata,
        holding: Holding,
        opener: Opener,
        fanout: Fanout | None = None,
    ) -> None:
        self._metadata = metadata
        self._holding = holding
        self._fanout = fanout
        self._defaults = opener.defaults
        self._nursery: trio.Nursery | None = None
        #: Held while a topic is created or deleted: one that is known has its partitions open.
        self._changing = Locks[str]()
        #: The way to partitions that may be led elsewhere.
        self.routes = Routes(self, fanout)
        self._dead_letters = DeadLetterOffice(self, self.routes)
        self._stopping = False
        opener.on_dead_letters = self._dead_letters.post

    @property
    def hooks(self) -> Hooks:
        """Who is told of what happens to partitions; to be set before `run`."""
        return self._holding.hooks

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Serve this node's partitions until `stop`; started when they serve."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._holding.run)
            nursery.start_soon(self._dead_letters.run)
            task_status.started()

    def stop(self) -> None:
        """Let every partition finish what is queued; `run` returns when all have."""
        self._stopping = True
        self._dead_letters.stop()
        self._holding.stop()

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

    async def known(self, look: Callable[[], T]) -> T:
        """What `look` finds in the metadata, also if this node has not heard of it yet.

        Raises:
            NotFound: there is none in the whole cluster.
        """
        with suppress(NotFound):
            return look()
        if self._fanout is not None:
            await self._metadata.read()
        return look()

    def partition(self, topic: str, index: int) -> Partition:
        """A partition that this node leads.

        Raises:
            NotFound: no such topic or partition.
            NotLeader: another node leads it; the details say which.
            Overloaded: nobody leads it yet.
        """
        info = self.topic(topic)
        partition = self._holding.leading(info, index)
        if partition is not None:
            return partition
        if index < info.partitions:
            raise self._holding.elsewhere(info, index)
        raise NotFound(f"topic {topic!r} has {info.partitions} partitions; {index} is none of them")

    def open_partitions(self) -> list[Partition]:
        """The partitions that are led here, by topic in the order in which topics were made."""
        return self._holding.open_partitions()

    def leaders(self, info: TopicInfo) -> list[str]:
        """See `Holding.leaders`."""
        return self._holding.leaders(info)

    def addresses(self) -> list[str]:
        """See `Holding.addresses`."""
        return self._holding.addresses()

    @property
    def version(self) -> int:
        """Of two answers about topics, the one with the larger version is the later; alone, 0."""
        return 0 if self._fanout is None else self._metadata.view.version

    def led(self, topic: str) -> list[Partition]:
        """Those partitions of a topic that this node leads.

        Raises:
            NotFound: no such topic.
            Overloaded: this node is alone, and one of them is not open yet.
        """
        info = self.topic(topic)
        found = (self._led(info, index) for index in range(info.partitions))
        return [partition for partition in found if partition is not None]

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

        One that the user made, with other partitions or settings, will do. A new one is kept as safe as
        the topic that its letters come from.
        """
        try:
            return self.topic(name)
        except NotFound:
            source = self._metadata.view.topics.get(name.removesuffix(SUFFIX))
            of_source = {} if source is None or self._fanout is None else source.settings
            settings = {key: of_source[key] for key in _SAFETY if key in of_source}
            return (await self.create_topic(name, 1, settings))[0]

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
        return policy_for(self._defaults.retry, self.topic(topic).settings)

    def max_delay_ms(self, topic: str) -> int:
        """How far ahead a topic's events may be due; 0: no limit. Raises NotFound."""
        return options_for(self._defaults.commit, self.topic(topic).settings).max_delay_ms

    def _led(self, info: TopicInfo, index: int) -> Partition | None:
        partition = self._holding.leading(info, index)
        if partition is None and self._fanout is None:
            raise self._holding.elsewhere(info, index)
        return partition

    async def _create_topic(self, command: CreateTopic) -> tuple[TopicInfo, bool]:
        check_topic(command, self._defaults)
        async with self._changing.alone(command.name):
            if self._fanout is None:
                check_alone(command.settings)
            else:
                view = await self._metadata.read()
                command = with_copies(command, view, self._defaults.replication)
            result = await self._metadata.change(command)
            info = self.topic(command.name)
            await self._holding.created(info)
        if result.created:
            logger.info("topic %s was created", info.name)
        return info, result.created

    async def _delete_topic(self, name: str) -> None:
        async with self._changing.alone(name):
            info = await self.known(lambda: self.topic(name))
            await self._metadata.change(DeleteTopic(name))
            await self._holding.deleted(info)
        logger.info("topic %s was deleted", name)


async def _reply_with(work: Callable[[], Awaitable[T]], reply: Reply[T | ChronosError]) -> None:
    try:
        reply.set(await work())
    except ChronosError as error:
        reply.set(error)
    except DiskFull as error:
        reply.set(faults.of_log(error))

"""Publishing and changing events wherever their partition is led: here, or by a node that is asked.

For what a node does of its own accord: dead letters, schedules. Clients find the leader themselves.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol, TypeVar, cast

import trio

from chronosdb.node.fanout import messages as f
from chronosdb.node.fanout.fanout import Fanout
from chronosdb.node.partition.acks import Acks
from chronosdb.node.partition.changes import Change
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.proposals import Placement, PublishOutcome
from chronosdb.node.reply import told
from chronosdb.raft import TopicInfo
from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import NotLeader, Overloaded

#: Questions to other nodes at one time: a peer answers 512 at a time, and has others to answer.
_ASKED_AT_ONCE: Final = 64

A = TypeVar("A", bound=m.Message)


class Topics(Protocol):
    """What is needed of the broker."""

    def topic(self, name: str) -> TopicInfo:
        """One topic; raises NotFound."""
        ...

    def partition(self, topic: str, index: int) -> Partition:
        """One that this node leads; raises NotFound, NotLeader, Overloaded."""
        ...


class Routes:
    """The way to each partition's leader. Without a fanout all of them are here."""

    def __init__(self, topics: Topics, fanout: Fanout | None = None) -> None:
        self._topics = topics
        self._fanout = fanout
        self._asking = trio.CapacityLimiter(_ASKED_AT_ONCE)
        if fanout is not None:
            fanout.answer(m.Publish, self._serve_publish)
            fanout.answer(m.Change, self._serve_change)

    def here(self, topic: str, index: int) -> Partition | None:
        """The partition if this node leads it; None: another does.

        Raises:
            NotFound: no such topic or partition.
            Overloaded: nobody leads it now.
        """
        try:
            return self._topics.partition(topic, index)
        except NotLeader:
            if self._fanout is None:
                raise
            return None

    async def publish(self, topic: str, index: int, batch: EventBatch) -> None:
        """Store a batch; returns when no failover can lose it, whatever the topic says.

        Raises:
            ChronosError: it is not known to be stored.
        """
        partition = self.here(topic, index)
        if partition is None:
            message = m.Publish(f.NO_REQUEST, topic, index, batch.blob)
            await self.ask(topic, index, message, m.Published)
        else:
            await self.published(partition, batch)

    def publish_here(
        self, partition: Partition, batch: EventBatch, outcome: PublishOutcome
    ) -> None:
        """As `publish`, where this node leads; `outcome` is told how it ended."""
        settings = self._topics.topic(partition.id.topic).settings
        hasty = settings.get("acks") == Acks.LEADER
        partition.publish(batch, outcome, Acks.QUORUM if hasty else None)

    async def published(self, partition: Partition, batch: EventBatch) -> Placement:
        """As `publish_here`; where the batch is, or raises ChronosError."""
        return await told(partial(self.publish_here, partition, batch))

    async def change(self, topic: str, index: int, message_id: bytes, due_ms: int | None) -> Change:
        """Cancel an event (`due_ms` None), or let it be due at another time.

        Raises:
            ChronosError: it is not known how that ended.
        """
        partition = self.here(topic, index)
        if partition is None:
            message = m.Change(f.NO_REQUEST, topic, index, message_id, due_ms)
            reply = await self.ask(topic, index, message, m.Changed)
            return cast("Change", reply.outcome)
        return await told(partial(partition.change, message_id, due_ms))

    async def ask(self, topic: str, index: int, message: m.Message, answer: type[A]) -> A:
        """What the leader of a partition, another node, answers; raises ChronosError."""
        assert self._fanout is not None
        leader = self._topics.topic(topic).leaders[index]
        if leader in {"", self._fanout.me}:
            raise Overloaded(f"partition {index} of topic {topic!r} has no leader now; try again")
        async with self._asking:
            return await self._fanout.ask(leader, message, answer)

    async def _serve_publish(self, _peer: str, message: m.Publish) -> m.Published:
        batch = EventBatch(message.batch)
        batch.check_limits()
        await self.published(self._topics.partition(message.topic, message.partition), batch)
        return m.Published(f.NO_REQUEST, 0)

    async def _serve_change(self, _peer: str, message: m.Change) -> m.Changed:
        partition = self._topics.partition(message.topic, message.partition)
        outcome = await told(partial(partition.change, message.message_id, message.due_ms))
        return m.Changed(f.NO_REQUEST, outcome)

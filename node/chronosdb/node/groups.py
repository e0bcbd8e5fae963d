"""Groups as an operator sees them: how far they are and who is in them; reset, and deleted.

Resetting and deleting write one GROUP record per partition, which replaces everything that was known
of the group there. The metadata forgets a deleted group only after all partitions have: a crash in
between leaves a group that is still listed, and that can be deleted again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from chronosdb.node.broker import Broker
from chronosdb.node.clock import Clock
from chronosdb.node.consumers import Consumers, Subscription
from chronosdb.node.partition.dispatcher import Progress
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.proposals import Outcome
from chronosdb.node.reply import Reply
from chronosdb.wire.errors import ChronosError, Conflict
from chronosdb.wire.messages import GroupInfo, GroupMember, GroupMove, GroupPartition, GroupSummary

logger = logging.getLogger(__name__)


class Groups:
    """The groups of a node's topics."""

    def __init__(self, broker: Broker, consumers: Consumers, clock: Clock) -> None:
        self._broker = broker
        self._consumers = consumers
        self._clock = clock

    def summaries(self, topic: str) -> list[GroupSummary]:
        """The groups of a topic, by name; raises NotFound."""
        partitions = self._broker.partitions(topic)
        return [
            GroupSummary(
                info.group,
                info.mode,
                info.created_ms,
                len(self._consumers.members(topic, info.group)),
                sum(progress.lag for _, progress in _progress(partitions, info.group)),
            )
            for info in self._broker.groups(topic)
        ]

    def describe(self, topic: str, name: str) -> GroupInfo:
        """One group.

        Raises:
            NotFound: no such topic or group.
            DamagedRecord: an event's bytes on disk are not what was written.
        """
        info = self._broker.group(topic, name)
        partitions = self._broker.partitions(topic)
        now_ms = self._clock.now_ms()
        return GroupInfo(
            topic,
            name,
            info.mode,
            info.created_ms,
            self._consumers.generation(topic, name),
            [_row(partition, at, now_ms) for partition, at in _progress(partitions, name)],
            [_member(member, partitions) for member in self._consumers.members(topic, name)],
        )

    async def reset(
        self, topic: str, name: str, to: str | int, *, dry_run: bool, force: bool
    ) -> Sequence[GroupMove]:
        """Let a group begin again, at "earliest", "latest", or with what fired at a time or later.

        Raises:
            NotFound: no such topic or group.
            Conflict: it has members, and `force` was not said.
        """
        self._broker.group(topic, name)
        if dry_run:
            return [move for _, move in self._moves(topic, name, to)]
        return await self._broker.to_the_end(partial(self._reset, topic, name, to, force=force))

    async def delete(self, topic: str, name: str) -> None:
        """Forget a group: one of that name that is made later begins anew.

        Raises:
            NotFound: no such topic or group.
            Conflict: it has members.
        """
        await self._broker.to_the_end(partial(self._delete, topic, name))

    async def delete_topic(self, topic: str) -> None:
        """Delete a topic, its groups, its events.

        Raises:
            NotFound: no such topic.
            Conflict: it has consumers.
        """
        busy = self._consumers.groups_with_members(topic)
        if busy:
            raise Conflict(
                f"topic {topic!r} is being consumed by group {', '.join(busy[:5])}: stop the"
                " consumers first"
            )
        await self._broker.delete_topic(topic)
        self._consumers.forget(topic)

    async def _reset(self, topic: str, name: str, to: str | int, *, force: bool) -> list[GroupMove]:
        async with self._consumers.alone(topic, name):
            self._broker.group(topic, name)
            if not force:
                self._refuse_members(topic, name, "or say force: they will be sent events again")
            moves = self._moves(topic, name, to)
            for partition, move in moves:
                await _written(partial(partition.reset_group, name, move.new_position))
            self._consumers.renewed(topic, name)
        logger.info("group %s of topic %s begins again at %s", name, topic, to)
        return [move for _, move in moves]

    async def _delete(self, topic: str, name: str) -> None:
        async with self._consumers.alone(topic, name):
            self._broker.group(topic, name)
            self._refuse_members(topic, name, "")
            for partition in self._broker.partitions(topic):
                await _written(partial(partition.end_group, name))
            await self._broker.delete_group(topic, name)
        logger.info("group %s of topic %s was deleted", name, topic)

    def _refuse_members(self, topic: str, name: str, otherwise: str) -> None:
        count = len(self._consumers.members(topic, name))
        if count:
            raise Conflict(
                f"group {name!r} has members now ({count}): stop them first"
                + (f", {otherwise}" if otherwise else "")
            )

    def _moves(self, topic: str, name: str, to: str | int) -> list[tuple[Partition, GroupMove]]:
        moves = []
        for partition in self._broker.partitions(topic):
            at = partition.dispatcher.progress(name)
            end = partition.committer.end_position
            position = partition.start_position(to)
            old = position if at is None else at.low
            move = GroupMove(partition.id.partition, old, position, end - position)
            moves.append((partition, move))
        return moves


async def _written(ask: partial[None]) -> None:
    """Wait until what is asked for is on disk; raises the error that prevents it."""
    reply = Reply[ChronosError | None]()
    outcome: Outcome = reply.set
    ask(outcome)
    error = await reply.get()
    if error is not None:
        raise error


def _progress(partitions: Sequence[Partition], name: str) -> list[tuple[Partition, Progress]]:
    """The group's progress in each partition in which it has begun."""
    all_of_it = [(partition, partition.dispatcher.progress(name)) for partition in partitions]
    return [(partition, at) for partition, at in all_of_it if at is not None]


def _row(partition: Partition, at: Progress, now_ms: int) -> GroupPartition:
    lag_ms = 0
    if at.lag:
        [due_ms] = partition.reader.fired(at.low, at.low + 1).due_ms.tolist()
        lag_ms = max(0, now_ms - due_ms)
    return GroupPartition(
        partition.id.partition,
        at.low,
        at.end,
        at.lag,
        lag_ms,
        at.leased,
        at.retrying,
        at.since_ms,
    )


def _member(member: Subscription, partitions: Sequence[Partition]) -> GroupMember:
    return GroupMember(
        member.id,
        member.client,
        [partition.id.partition for partition in member.partitions],
        member.credits,
        # A partition that has moved on may still have deliveries of this member.
        sum(p.dispatcher.in_flight(member.group, member) for p in partitions),
    )

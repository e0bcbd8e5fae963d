"""The part of each group that one node has: its members there, its progress in what that node leads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from chronosdb.node.broker import Broker
from chronosdb.node.clock import Clock
from chronosdb.node.consumers import Consumers
from chronosdb.node.fanout.messages import GroupPart, GroupParts
from chronosdb.node.members.subscription import Subscription
from chronosdb.node.partition.dispatcher import Progress
from chronosdb.node.partition.partition import Partition
from chronosdb.node.reply import told
from chronosdb.wire.errors import Conflict
from chronosdb.wire.messages import GroupInfo, GroupMember, GroupMove, GroupPartition


class GroupsHere:
    """What a node knows of groups by itself, and does to them. Whether there is a group, others ask."""

    def __init__(self, broker: Broker, consumers: Consumers, clock: Clock) -> None:
        self._broker = broker
        self._consumers = consumers
        self._clock = clock

    def parts(self, topic: str) -> GroupParts:
        """What there is of each group of a topic; raises NotFound, Overloaded."""
        led = self._broker.led(topic)
        groups = [
            GroupPart(
                info.group,
                list(self._consumers.members(topic, info.group)),
                sum(progress.lag for _, progress in _progress(led, info.group)),
            )
            for info in self._broker.groups(topic)
        ]
        return GroupParts([partition.id.partition for partition in led], groups)

    def describe(self, topic: str, name: str) -> GroupInfo:
        """One group, but for what only the metadata know of it.

        Raises:
            NotFound: no such topic.
            DamagedRecord: an event's bytes on disk are not what was written.
        """
        led = self._broker.led(topic)
        now_ms = self._clock.now_ms()
        known = {partition.id.partition for partition in led}
        return GroupInfo(
            topic,
            name,
            mode="",
            created_ms=0,
            generation=self._consumers.generation(topic, name),
            partitions=[_row(partition, at, now_ms) for partition, at in _progress(led, name)],
            members=[_member(m, led) for m in self._consumers.members(topic, name).values()],
            unknown=[p for p in range(self._broker.topic(topic).partitions) if p not in known],
        )

    def refuse_members(self, topic: str, name: str, otherwise: str) -> None:
        """Raises Conflict when the group has members here; `otherwise` is what could be done."""
        refuse_members(name, len(self._consumers.members(topic, name)), otherwise)

    def moves(
        self, topic: str, name: str, to: str | int, partitions: Collection[int] | None = None
    ) -> list[tuple[Partition, GroupMove]]:
        """What a reset would do in those of `partitions` that are led here, None: in all of them."""
        moves = []
        for partition in self._led(topic, partitions):
            at = partition.dispatcher.progress(name)
            end = partition.committer.end_position
            position = partition.start_position(to)
            old = position if at is None else at.low
            move = GroupMove(partition.id.partition, old, position, end - position)
            moves.append((partition, move))
        return moves

    async def reset(
        self, topic: str, name: str, to: str | int, partitions: Collection[int] | None = None
    ) -> list[GroupMove]:
        """Do it; returns when it is on disk. The caller sees to it that nobody joins meanwhile."""
        moves = self.moves(topic, name, to, partitions)
        for partition, move in moves:
            await told(partial(partition.reset_group, name, move.new_position))
        self._consumers.renewed(topic, name)
        return [move for _, move in moves]

    async def end(
        self, topic: str, name: str, partitions: Collection[int] | None = None
    ) -> list[int]:
        """Forget a group there, on disk; returns where. The caller sees to it that nobody joins."""
        led = self._led(topic, partitions)
        for partition in led:
            await told(partial(partition.end_group, name))
        return [partition.id.partition for partition in led]

    def _led(self, topic: str, partitions: Collection[int] | None) -> list[Partition]:
        led = self._broker.led(topic)
        return [p for p in led if partitions is None or p.id.partition in partitions]


def refuse_members(name: str, count: int, otherwise: str) -> None:
    """Raises Conflict when a group has `count` members; `otherwise` is what could be done."""
    if count:
        raise Conflict(
            f"group {name!r} has members now ({count}): stop them first"
            + (f", {otherwise}" if otherwise else "")
        )


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
        member.member,
    )

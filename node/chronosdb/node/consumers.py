"""Who consumes what: the members of each group, and which partitions each of them is sent.

An `ordered` group gives each partition to one member, evenly and moving as little as possible; a
`shared` group gives every partition to everyone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.partition.dispatcher import Member
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.proposals import Outcome
from chronosdb.node.reply import Reply
from chronosdb.sched import assign
from chronosdb.wire.errors import ChronosError, NotFound
from chronosdb.wire.letters import SUFFIX
from chronosdb.wire.limits import MAX_CREDITS
from chronosdb.wire.messages import Deliver, Subscribe


class Subscription:
    """One member: a client's subscription, as the dispatchers see it."""

    def __init__(
        self,
        member_id: int,
        request: Subscribe,
        client: str,
        send: Callable[[Deliver], None],
        has_room: Callable[[], bool],
    ) -> None:
        self.id = member_id
        #: What the client calls itself.
        self.client = client
        self.subscription = request.subscription
        self.topic = request.topic
        self.group = request.group
        self.mode = request.mode
        #: Where the group begins, if it is new.
        self.start = request.start
        #: How many events may still be sent. Invariant: 0 … MAX_CREDITS.
        self.credits = request.credits
        self._send = send
        self._has_room = has_room
        #: It takes part in its group.
        self.joined = False
        #: It will not, or no more. Invariant: once set it stays set.
        self.gone = False
        #: The partitions this member is sent now.
        self.partitions: list[Partition] = []

    def room(self) -> int:
        """See `Member.room`: none while the connection is slow to take what was sent."""
        return self.credits if self._has_room() else 0

    def deliver(self, message: Deliver, count: int) -> None:
        """See `Member.deliver`."""
        self.credits -= count
        self._send(message)

    def grant(self, more: int) -> None:
        """The client can take more."""
        self.credits = min(self.credits + more, MAX_CREDITS)
        self.wake()

    def wake(self) -> None:
        """There may be room that was not there before."""
        for partition in self.partitions:
            partition.dispatcher.wake()


@dataclass(slots=True)
class _Group:
    mode: str
    partitions: list[Partition]
    #: Grows with every change of the members, and when the group begins again.
    generation: int = 0
    members: dict[str, Subscription] = field(default_factory=dict)
    #: Ordered groups: the owner of each partition.
    owners: dict[int, str] = field(default_factory=dict)


class Consumers:
    """The groups with members on this node."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        #: Invariant: each has members.
        self._groups: dict[tuple[str, str], _Group] = {}
        self._last_member = 0
        self._last_generation = 0
        #: Held while a group is begun, reset or ended. Invariant: each is held or waited for.
        self._locks: dict[tuple[str, str], trio.Lock] = {}

    def next_member_id(self) -> int:
        """A number no member had before."""
        self._last_member += 1
        return self._last_member

    async def join(self, member: Subscription, joined: Outcome) -> None:
        """Let a member take part in its group, creating the group where it does not exist.

        `joined` is told before the first delivery is sent.

        Raises:
            NotFound: no such topic, or the member left before it had joined.
            Conflict: the group has the other mode.
        """
        if member.topic.endswith(SUFFIX):
            with suppress(NotFound):
                # Who waits for dead letters need not wait for the first one.
                self._broker.topic(member.topic.removesuffix(SUFFIX))
                await self._broker.dead_letter_topic(member.topic)
        async with self.alone(member.topic, member.group):
            opened = await self.open(member.topic, member.group, member.mode, member.start)
            if member.gone:
                raise NotFound(f"subscription {member.subscription} was ended before it had begun")
            member.joined = True
            group = self._groups.get((member.topic, member.group))
            if group is None or group.partitions != opened:
                # Other partitions: the topic was deleted, and another has its name now.
                group = self._groups[member.topic, member.group] = _Group(member.mode, opened)
            group.members[_key(member)] = member
            joined(None)
            self._rebalance(member.group, group)

    async def open(self, topic: str, group: str, mode: str, start: str | int) -> list[Partition]:
        """Create a group in every partition where it does not exist, and let it be served.

        Raises:
            as `join`.
        """
        partitions = self._broker.partitions(topic)
        await self._broker.put_group(topic, group, mode)
        policy = self._broker.retry_policy(topic)
        for partition in partitions:
            await _group_created(partition, group, start)
            partition.dispatcher.open_group(group, policy)
        return partitions

    @asynccontextmanager
    async def alone(self, topic: str, group: str) -> AsyncIterator[None]:
        """While the block runs, nobody else begins, resets, ends or joins this group."""
        lock = self._locks.setdefault((topic, group), trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._locks.get((topic, group)) is lock:
                del self._locks[topic, group]

    def members(self, topic: str, group: str) -> list[Subscription]:
        """Who takes part in a group, oldest first."""
        found = self._groups.get((topic, group))
        return [] if found is None else [member for _, member in sorted(found.members.items())]

    def generation(self, topic: str, group: str) -> int:
        """The group's generation; 0: it has no members."""
        found = self._groups.get((topic, group))
        return 0 if found is None else found.generation

    def renewed(self, topic: str, group: str) -> None:
        """A group has begun again."""
        found = self._groups.get((topic, group))
        if found is not None:
            found.generation = self._next_generation()

    def groups_with_members(self, topic: str) -> list[str]:
        """The names of a topic's groups that have members now."""
        return sorted(name for of, name in self._groups if of == topic)

    def forget(self, topic: str) -> None:
        """A topic is gone, and its groups with it."""
        for name in self.groups_with_members(topic):
            del self._groups[topic, name]

    def leave(self, member: Subscription) -> None:
        """Take a member out; what it holds goes to others at once. Harmless when it never joined."""
        member.gone = True
        group = self._groups.get((member.topic, member.group))
        if group is None or group.members.pop(_key(member), None) is None:
            return
        self._rebalance(member.group, group)
        for partition in group.partitions:
            partition.dispatcher.release(member.group, member)
        if not group.members:
            del self._groups[member.topic, member.group]

    def _rebalance(self, name: str, group: _Group) -> None:
        group.generation = self._next_generation()
        for member in group.members.values():
            member.partitions = []
        if group.mode == "ordered":
            indices = [p.id.partition for p in group.partitions]
            group.owners = assign(indices, sorted(group.members), group.owners)
        for partition in group.partitions:
            members = list(group.members.values())
            if group.mode == "ordered":
                owner = group.owners.get(partition.id.partition)
                members = [] if owner is None else [group.members[owner]]
            for member in members:
                member.partitions.append(partition)
            partition.dispatcher.set_members(name, members)

    def _next_generation(self) -> int:
        self._last_generation += 1
        return self._last_generation


async def _group_created(partition: Partition, name: str, start: str | int) -> None:
    reply = Reply[ChronosError | None]()
    partition.create_group(name, start, reply.set)
    error = await reply.get()
    if error is not None:
        raise error


def _key(member: Member) -> str:
    """Members sort in the order in which they came."""
    return f"{member.id:020d}"

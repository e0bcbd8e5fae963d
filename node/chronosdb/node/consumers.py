"""Who consumes what on this node: the members of each group, and what each of them is sent.

An `ordered` group gives each partition to one member (`Owners` says whom); a `shared` group gives every
partition to everyone. In a cluster a member is attached to several nodes, and this is about those
partitions that are led here: they come and go.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.members.claims import Claims
from chronosdb.node.members.owners import Owners, OwnersHere
from chronosdb.node.members.reports import Attached
from chronosdb.node.members.subscription import Subscription
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.proposals import Outcome
from chronosdb.node.reply import Reply
from chronosdb.raft import ClusterView
from chronosdb.wire.errors import ChronosError, NotFound
from chronosdb.wire.letters import SUFFIX

logger = logging.getLogger(__name__)

#: (topic, group).
Key = tuple[str, str]


@dataclass(slots=True)
class _Group:
    topic_id: int
    mode: str
    #: Where it begins in a partition in which it does not exist: as its first member here said.
    start: str | int
    #: Those that are led here, and in which it is open.
    partitions: dict[int, Partition] = field(default_factory=dict)
    #: Grows with every change of the members here, and when the group begins again.
    generation: int = 0
    #: Of the metadata's assignment that the owners are of.
    assignment: int = 0
    members: dict[str, Subscription] = field(default_factory=dict)
    #: Ordered groups: the owner of each partition.
    owners: dict[int, str] = field(default_factory=dict)


class Consumers:
    """The groups with members on this node."""

    def __init__(self, broker: Broker, owners: Owners | None = None) -> None:
        self._broker = broker
        self._owners: Owners = owners or OwnersHere()
        #: Invariant: each has members.
        self._groups: dict[Key, _Group] = {}
        #: By topic id and index. Also while there is no lease: then they are led, and send nothing.
        self._led: dict[tuple[int, int], Partition] = {}
        self._last_member = 0
        self._last_generation = 0
        #: Held while a group is begun, reset or ended. Invariant: each is held or waited for.
        self._locks: dict[Key, trio.Lock] = {}
        #: Groups that are being changed in the whole cluster: nobody joins them here.
        self.claims = Claims()

    def next_member_id(self) -> int:
        """A number no member had before."""
        self._last_member += 1
        return self._last_member

    async def join(self, member: Subscription, joined: Outcome) -> None:
        """Let a member take part in its group, creating the group where it does not exist.

        `joined` is told before the first delivery is sent. A member of the same name leaves: it has
        lost its connection, and come back before that was noticed.

        Raises:
            NotFound: no such topic, or the member left before it had joined.
            Conflict: the group has the other mode.
            Overloaded: the group is being reset or deleted.
        """
        if member.topic.endswith(SUFFIX):
            with suppress(NotFound):
                # Who waits for dead letters need not wait for the first one.
                self._broker.topic(member.topic.removesuffix(SUFFIX))
                await self._broker.dead_letter_topic(member.topic)
        key = (member.topic, member.group)
        async with self.alone(*key):
            self.claims.check(key)
            opened = await self.open(*key, member.mode, member.start)
            if member.gone:
                raise NotFound(f"subscription {member.subscription} was ended before it had begun")
            name = self._owners.name(member)
            before = self._groups[key].members.get(name) if key in self._groups else None
            if before is not None:
                self.leave(before)
            group = self._group(member, opened)
            member.joined = True
            group.members[name] = member
            joined(None)
            self._members_changed(key, group)

    def _group(self, member: Subscription, opened: Iterable[Partition]) -> _Group:
        """The group that a member takes part in, in these partitions of its topic."""
        key = (member.topic, member.group)
        topic_id = self._broker.topic(member.topic).id
        group = self._groups.get(key)
        if group is None or group.topic_id != topic_id:
            # Another topic: one of its name was deleted.
            group = self._groups[key] = _Group(topic_id, member.mode, member.start)
        group.partitions = {partition.id.partition: partition for partition in opened}
        return group

    async def open(self, topic: str, group: str, mode: str, start: str | int) -> list[Partition]:
        """Create a group in every partition led here where it does not exist; let it be served.

        Raises:
            as `join`.
        """
        led = self._led_of(topic)
        await self._broker.put_group(topic, group, mode)
        policy = self._broker.retry_policy(topic)
        while True:
            replies = [(partition, _group_created(partition, group, start)) for partition in led]
            failed = [(p, error) for p, reply in replies if (error := await reply.get())]
            before, led = led, self._led_of(topic)
            for partition, error in failed:
                if partition in led:
                    raise error
            # Others may be led here by now.
            if led == before:
                break
        for partition in led:
            partition.dispatcher.open_group(group, policy)
        return led

    @asynccontextmanager
    async def alone(self, topic: str, group: str) -> AsyncIterator[None]:
        """While the block runs, nobody else begins, resets, ends or joins this group here."""
        lock = self._locks.setdefault((topic, group), trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._locks.get((topic, group)) is lock:
                del self._locks[topic, group]

    def members(self, topic: str, group: str) -> dict[str, Subscription]:
        """Who takes part in a group here, by name; in the order of their names."""
        found = self._groups.get((topic, group))
        return {} if found is None else dict(sorted(found.members.items()))

    def generation(self, topic: str, group: str) -> int:
        """The group's generation here; 0: it has no members here."""
        found = self._groups.get((topic, group))
        return 0 if found is None else found.generation

    def renewed(self, topic: str, group: str) -> None:
        """A group has begun again."""
        found = self._groups.get((topic, group))
        if found is not None:
            found.generation = self._next_generation()

    def groups_with_members(self, topic: str) -> list[str]:
        """The names of a topic's groups that have members here now."""
        return sorted(name for of, name in self._groups if of == topic)

    def attached(self) -> list[Attached]:
        """The members of all ordered groups: whoever assigns partitions to them wants to know."""
        return [
            Attached(*key, sorted(group.members))
            for key, group in sorted(self._groups.items())
            if group.mode == "ordered"
        ]

    def forget(self, topic: str) -> None:
        """A topic is gone, and its groups with it."""
        for name in self.groups_with_members(topic):
            del self._groups[topic, name]

    def leave(self, member: Subscription) -> None:
        """Take a member out; what it holds goes to others at once. Harmless when it never joined."""
        member.gone = True
        key = (member.topic, member.group)
        group, name = self._groups.get(key), self._owners.name(member)
        if group is None or group.members.get(name) is not member:
            return
        del group.members[name]
        self._members_changed(key, group)
        for partition in group.partitions.values():
            partition.dispatcher.release(member.group, member)
        if not group.members:
            del self._groups[key]

    def led(self, partition: Partition) -> None:
        """This node leads another partition from now on: it serves the groups with members here."""
        self._led[partition.id.topic_id, partition.id.partition] = partition
        for key, group in list(self._groups.items()):
            if key[0] == partition.id.topic and group.topic_id == partition.id.topic_id:
                self._begin(key, group, partition)

    def deposed(self, partition: Partition) -> None:
        """This node leads it no more. What members hold of it is its next leader's concern."""
        index = partition.id.partition
        if self._leads(partition):
            del self._led[partition.id.topic_id, index]
        for key, group in self._groups.items():
            if key[0] == partition.id.topic and group.partitions.get(index) is partition:
                del group.partitions[index]
                partition.dispatcher.set_members(key[1], [])
                self._spread(key, group)

    async def run(self, metadata: Metadata) -> None:
        """Follow the metadata, for ever. A node alone need not: what it changes there it knows."""
        while True:
            changed = metadata.changed
            for key, mode, start in self._follow(metadata.view):
                logger.warning("group %s of topic %s has members: it is made again", key[1], key[0])
                with suppress(ChronosError):
                    async with self.alone(*key):
                        await self.open(*key, mode, start)
            await changed.wait()

    def _follow(self, view: ClusterView) -> list[tuple[Key, str, str | int]]:
        """The metadata have changed: let go what is gone, and send to whom they say.

        Returns the groups that have members here and were deleted all the same, with mode and start:
        they are to be opened again.
        """
        orphans = []
        for key, group in list(self._groups.items()):
            topic, info = view.topics.get(key[0]), view.groups.get(key)
            if topic is None or topic.id != group.topic_id:
                del self._groups[key]
            elif info is None:
                orphans.append((key, group.mode, group.start))
            elif group.mode == "ordered" and info.generation != group.assignment:
                group.assignment = info.generation
                self._spread(key, group)
        return orphans

    def _leads(self, partition: Partition) -> bool:
        return self._led.get((partition.id.topic_id, partition.id.partition)) is partition

    def _led_of(self, topic: str) -> list[Partition]:
        """The partitions of a topic that are led here; raises NotFound."""
        info = self._broker.topic(topic)
        found = (self._led.get((info.id, index)) for index in range(info.partitions))
        return [partition for partition in found if partition is not None]

    def _begin(self, key: Key, group: _Group, partition: Partition) -> None:
        """Serve a group in a partition; where nobody created it before its leader was lost, do so."""

        def begun(error: ChronosError | None) -> None:
            if error is not None:
                logger.warning("group %s is not served in %s: %s", key[1], partition.id, error)
            elif self._groups.get(key) is group and self._leads(partition):
                partition.dispatcher.open_group(key[1], self._broker.retry_policy(key[0]))
                group.partitions[partition.id.partition] = partition
                self._spread(key, group)

        try:
            partition.create_group(key[1], group.start, begun)
        except ChronosError as error:
            begun(error)

    def _members_changed(self, key: Key, group: _Group) -> None:
        group.generation = self._next_generation()
        self._spread(key, group)
        if group.mode == "ordered":
            self._owners.members_changed()

    def _spread(self, key: Key, group: _Group) -> None:
        """Let every partition know to whom it sends this group's deliveries."""
        for member in group.members.values():
            member.partitions = []
        ordered = group.mode == "ordered"
        indices = sorted(group.partitions)
        if ordered:
            owners = self._owners.of(
                *key, partitions=indices, members=group.members, current=group.owners
            )
            group.owners = dict(owners)
        for index in indices:
            partition = group.partitions[index]
            members = list(group.members.values())
            if ordered:
                owner = group.owners.get(index)
                members = [] if owner is None else [group.members[owner]]
            for member in members:
                member.partitions.append(partition)
            partition.dispatcher.set_members(key[1], members)

    def _next_generation(self) -> int:
        self._last_generation += 1
        return self._last_generation


def _group_created(partition: Partition, name: str, start: str | int) -> Reply[ChronosError | None]:
    reply = Reply[ChronosError | None]()
    try:
        partition.create_group(name, start, reply.set)
    except ChronosError as error:
        reply.set(error)
    return reply

"""A node in a cluster holds what the metadata say, and leads of it what they say, while it may.

One task follows the metadata and notes what is wanted of each partition; a partition that is not as it
is wanted gets a task until it is. The files of a partition that moved away go last.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from chronosdb.node.environment import Environment
from chronosdb.node.holding.holding import Hooks
from chronosdb.node.holding.opener import Opener
from chronosdb.node.holding.serving import Serving
from chronosdb.node.metadata import Metadata
from chronosdb.node.partition.partition import Partition, PartitionId
from chronosdb.node.peers.calls import Calls
from chronosdb.node.removal import is_held
from chronosdb.node.replication.assignment import Assignment
from chronosdb.node.replication.copies import Copies
from chronosdb.node.replication.quorum import default_min_insync
from chronosdb.raft import TopicInfo
from chronosdb.wire.errors import ChronosError, NotLeader, Overloaded

logger = logging.getLogger(__name__)

_OPENED_AT_ONCE: Final = 4


class _Seat:
    """One partition, as it is wanted here and as it is."""

    def __init__(self, identity: PartitionId) -> None:
        self.identity = identity
        #: The topic, as long as this node is to hold the partition.
        self.wanted: TopicInfo | None = None
        #: Invariant: changes only in the seat's own task.
        self.held = False
        #: A task of its own is changing that.
        self.busy = False

    @property
    def is_settled(self) -> bool:
        """Whether it is as it is wanted."""
        return not self.busy and self.held == (self.wanted is not None)


class Placed:
    """Implements `Holding`."""

    def __init__(
        self,
        env: Environment,
        node_id: str,
        *,
        metadata: Metadata,
        opener: Opener,
        copies: Copies,
        calls: Calls,
    ) -> None:
        self.hooks = Hooks()
        #: How often this node began to lead a partition.
        self.leaderships = 0
        self._env = env
        self._node_id = node_id
        self._metadata = metadata
        self._opener = opener
        self._copies = copies
        self._serving = Serving(node_id, metadata, calls, self._serves)
        #: By topic id and index. Invariant: everything that is held is in here.
        self._seats: dict[tuple[int, int], _Seat] = {}
        #: The topics that were looked at last, by id, and the nodes' addresses then.
        self._topics: dict[int, TopicInfo] = {}
        self._addresses: dict[str, str] = {}
        self._opening = trio.CapacityLimiter(_OPENED_AT_ONCE)
        self._nursery: trio.Nursery | None = None
        #: Raised whenever a seat is settled.
        self._settled = trio.Event()
        self._stopping = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """See `Holding.run`: started when all copies are open, whoever leads them."""
        copies = self._copies
        copies.on_opened, copies.on_deposed = self.hooks.on_opened, self.hooks.on_deposed
        copies.on_led = self._led
        await self._env.threads.run(self._opener.remove_orphans, self._metadata.view, self._node_id)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._follow)
            await self._all_settled()
            logger.info("copies of %d partitions are open", len(self._seats))
            task_status.started()
            await self._stopping.wait()
            await self._at_rest()
            await self._copies.stop()
            nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """See `Holding.stop`."""
        self._stopping.set()

    def leading(self, info: TopicInfo, index: int) -> Partition | None:
        """See `Holding.leading`."""
        seat = self._seats.get((info.id, index))
        return None if seat is None else self._copies.leading(seat.identity)

    def _serves(self, topic_id: int, index: int) -> bool:
        seat = self._seats.get((topic_id, index))
        return seat is not None and self._copies.leading(seat.identity) is not None

    def elsewhere(self, info: TopicInfo, index: int) -> ChronosError:
        """See `Holding.elsewhere`."""
        where = f"partition {index} of topic {info.name!r}"
        leader = info.leaders[index]
        if leader == self._node_id:
            return Overloaded(f"{where} is about to be led by this node", details={"leader": ""})
        address = self._address(leader)
        if not address:
            return Overloaded(f"{where} has no leader now; try again", details={"leader": ""})
        return NotLeader(f"{where} is led by node {leader}", details={"leader": address})

    def open_partitions(self) -> list[Partition]:
        """See `Holding.open_partitions`."""
        led = (self._copies.leading(self._seats[key].identity) for key in sorted(self._seats))
        return [partition for partition in led if partition is not None]

    def leaders(self, info: TopicInfo) -> list[str]:
        """See `Holding.leaders`."""
        return [self._address(leader) for leader in info.leaders]

    def addresses(self) -> list[str]:
        """See `Holding.addresses`."""
        nodes = self._metadata.view.nodes.values()
        return [n.address for n in nodes if n.address and not n.has_left]

    async def created(self, info: TopicInfo) -> None:
        """See `Holding.created`."""
        await self._serving.everywhere(info.name)

    async def deleted(self, info: TopicInfo) -> None:
        """See `Holding.deleted`; what other nodes have goes as they hear of it."""
        await self._all_settled(info.id)

    def _address(self, node: str) -> str:
        known = self._metadata.view.nodes.get(node)
        return "" if known is None else known.address

    def _led(self, partition: Partition) -> None:
        self.leaderships += 1
        self.hooks.on_led(partition)

    async def _follow(self) -> None:
        while True:
            changed = self._metadata.changed
            self._look()
            await changed.wait()

    async def _all_settled(self, topic_id: int | None = None) -> None:
        """Wait until every partition, or every one of a topic, is as the metadata want it now."""
        self._look()
        while any(
            not seat.is_settled
            for (of, _), seat in self._seats.items()
            if topic_id is None or of == topic_id
        ):
            await self._settled.wait()

    async def _at_rest(self) -> None:
        """Wait until nothing is being opened or dropped: who stops the copies must have them all."""
        while any(seat.busy for seat in self._seats.values()):
            await self._settled.wait()

    def _look(self) -> None:
        """See what the metadata want now, begin to bring it about, and tell whose leaders changed."""
        if self._stopping.is_set():
            return
        view = self._metadata.view
        topics = {info.id: info for info in view.topics.values()}
        addresses = {name: node.address for name, node in view.nodes.items()}
        moved = addresses != self._addresses
        led_anew = set()
        for info in topics.values():
            before = self._topics.get(info.id)
            if before is not info:
                self._want(info, before)
            if moved or before is None or _leadership(before) != _leadership(info):
                led_anew.add(info.name)
        for seat in [seat for (of, _), seat in self._seats.items() if of not in topics]:
            seat.wanted = None
            self._act(seat)
        self._topics, self._addresses = topics, addresses
        if led_anew:
            self.hooks.on_leaders_changed(frozenset(led_anew))

    def _want(self, info: TopicInfo, before: TopicInfo | None) -> None:
        """Note which partitions of a topic are to be held here, and how; act where that is new.

        Each change of the metadata is of a few partitions: the others must not be woken for it.
        """
        for index in range(info.partitions):
            key = info.id, index
            held = is_held(info, index, self._node_id)
            if held and key not in self._seats:
                self._seats[key] = _Seat(PartitionId(info.name, info.id, index))
            if key in self._seats:
                self._seats[key].wanted = info if held else None
                if before is None or _is_changed(before, info, index):
                    self._act(self._seats[key])

    def _act(self, seat: _Seat) -> None:
        """Bring a seat to where it is wanted; one that is busy looks again by itself."""
        assert self._nursery is not None
        if seat.busy:
            return
        if seat.held and seat.wanted is not None:
            self._copies.assign(seat.identity, assignment_of(seat.wanted, seat.identity.partition))
        elif not seat.is_settled:
            seat.busy = True
            self._nursery.start_soon(self._settle, seat)

    async def _settle(self, seat: _Seat) -> None:
        while seat.held != (seat.wanted is not None) and not self._stopping.is_set():
            if seat.held:
                await self._copies.drop(seat.identity)
                await self._env.threads.run(self._opener.remove, seat.identity)
                seat.held = False
            else:
                async with self._opening:
                    await self._hold(seat)
        seat.busy = False
        if seat.held == (seat.wanted is None):
            logger.debug("%s is left as it is: the node stops", seat.identity)
        elif seat.wanted is None:
            del self._seats[seat.identity.topic_id, seat.identity.partition]
        else:  # it may have changed since it was held
            self._copies.assign(seat.identity, assignment_of(seat.wanted, seat.identity.partition))
        self._settled.set()
        self._settled = trio.Event()

    async def _hold(self, seat: _Seat) -> None:
        info = seat.wanted
        if info is None or self._stopping.is_set():
            return  # it had to wait for its turn, and is not wanted any more
        assignment = assignment_of(info, seat.identity.partition)
        await self._copies.hold(
            seat.identity, assignment, self._opener.opening(seat.identity, info)
        )
        seat.held = True


def assignment_of(info: TopicInfo, partition: int) -> Assignment:
    """What the metadata say of one partition."""
    return Assignment(
        info.leaders[partition],
        info.epochs[partition],
        info.replicas[partition],
        info.isrs[partition],
        info.versions[partition],
        info.leaving(partition),
        info.settings.get("min_insync") or default_min_insync(info.settings.get("replication", 1)),
    )


def _is_changed(before: TopicInfo, info: TopicInfo, partition: int) -> bool:
    """Whether the metadata say anything else of a partition than they did."""
    return (
        before.versions[partition] != info.versions[partition]
        or before.target(partition) != info.target(partition)
        or before.settings != info.settings
    )


def _leadership(info: TopicInfo) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return info.leaders, info.epochs

"""Copies of partitions on several nodes in one process: real Copies, Peers and logs, on hosts of memory.

The metadata are an honest record here, and elections are held by whoever runs the test: `elect` does
what a controller does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import trio
from trio.testing import MockClock

from chronosdb.node.clock import Clock
from chronosdb.node.environment import Environment
from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.partition.opening import OpenPartition
from chronosdb.node.partition.partition import Partition, PartitionId
from chronosdb.node.partition.proposals import Placement
from chronosdb.node.partition.reader import RecordCache
from chronosdb.node.partition.retirement import FOR_EVER, RetentionLimits
from chronosdb.node.peers.calls import Calls
from chronosdb.node.peers.handshake import Self
from chronosdb.node.peers.peers import Peers
from chronosdb.node.peers.roster import Member
from chronosdb.node.replication.assignment import Assignment
from chronosdb.node.replication.copies import Copies
from chronosdb.node.replication.messages import Fence, Fenced, decode, encode
from chronosdb.node.replication.options import ReplicationOptions
from chronosdb.node.replication.quorum import quorum
from chronosdb.node.reply import Reply
from chronosdb.testing.chance import Random
from chronosdb.testing.clock import WallClock
from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.testing.threads import InlineThreads
from chronosdb.wal import Log, LogOptions, MemoryKV, Record
from chronosdb.wire import EventBatch
from chronosdb.wire.batch import Row, encode_batch
from chronosdb.wire.errors import ChronosError
from tests.peers.memory_network import MemoryHosts
from tests.support.seeded_trio import schedule_by

SECRET: Final = b"the secret of the tests"
START_MS: Final = 1_800_000_000_000
FIRST: Final = PartitionId("t", 1, 0)


class Lease:
    """Whether a node may lead; the test says."""

    def __init__(self) -> None:
        self.held = True
        self.refusals: list[tuple[int, int, int]] = []
        self._watchers: list[Any] = []

    def watch(self, on_change: Any) -> None:
        self._watchers.append(on_change)

    def refused(self, topic_id: int, partition: int, epoch: int) -> None:
        self.refusals.append((topic_id, partition, epoch))

    def set(self, *, held: bool) -> None:
        self.held = held
        for watcher in self._watchers:
            watcher(held)


class Life:
    """One process of a node."""

    def __init__(self, host: Host) -> None:
        world = host.world
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.ready = trio.Event()
        self.errors: list[Exception] = []
        self.threads = InlineThreads()
        self.env = Environment(
            clock=Clock(WallClock(START_MS)),
            disk=host.disk,
            threads=self.threads,
            random=Random(world.random.random()),
        )
        self.lease = Lease()
        self.network = world.hosts.at(host.name)
        others = [name for name in world.machines if name != host.name]
        birth = f"birth-{host.name}"
        self.peers = Peers(Self("c1", host.name, birth, SECRET), self.network, self.env.random)
        self.peers.know({name: Member(f"{name}:1") for name in others})
        self.calls = Calls(self.peers, self.env.random)
        self.copies = Copies(
            self.env,
            host.name,
            calls=self.calls,
            peers=self.peers,
            fences_path="/d/fences",
            propose=world.propose,
            lease=self.lease,
            options=world.options,
        )
        self._host = host

    async def run(self) -> None:
        try:
            with self.scope:
                listeners = await self.network.listen(self._host.name, 1)
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.calls.run)
                    nursery.start_soon(self.peers.run, listeners)
                    await nursery.start(self.copies.run)
                    for identity, one in self._host.world.assignments.items():
                        if self._host.name in one.replicas:
                            await self.copies.hold(identity, one, self._host.plan(identity))
                    self.ready.set()
        except Exception as error:  # noqa: BLE001 - whatever ended the node, the test looks at it
            self.errors = list(_leaves(error))
        finally:
            self.ready.set()
            self.ended.set()


class Host:
    """One node's machine. Disk and views outlive the processes."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.disk = MemoryDisk()
        self.disk.mkdir("/d")
        self.views = MemoryKV()
        self.life: Life | None = None

    @property
    def copies(self) -> Copies:
        assert self.life is not None, f"{self.name} does not run"
        return self.life.copies

    def plan(self, identity: PartitionId) -> OpenPartition:
        assert self.life is not None
        world = self.world
        return OpenPartition(
            env=self.life.env,
            identity=identity,
            directory=f"/d/{identity.directory}",
            views=self.views,
            cache=RecordCache(1024 * 1024),
            log_options=world.log_options,
            options=world.commit,
            on_dead_letters=lambda _partition, _letters: None,
            retention=world.retention,
        )

    async def start(self) -> None:
        assert self.life is None
        self.life = Life(self)
        self.world.nursery.start_soon(self.life.run)
        await self.life.ready.wait()

    async def stop(self) -> None:
        """In good order."""
        assert self.life is not None
        await self.life.copies.stop()
        await self._end(self.life)

    async def crash(self, torn: Random | None = None) -> None:
        """Cut the power; what was not synced is lost, or with `torn`, any part of it."""
        assert self.life is not None
        self.disk.cut_power_at(1)
        self.life.threads.kill()
        await self._end(self.life)
        self.disk.crash(torn)

    async def _end(self, life: Life) -> None:
        self.life = None
        life.scope.cancel()
        await life.ended.wait()
        self.world.hosts.listeners.pop(self.name, None)

    def log(self, identity: PartitionId = FIRST) -> Log:
        """Its log, for reading."""
        return Log.open(
            self.disk,
            f"/d/{identity.directory}",
            self.world.log_options,
            log_id=identity.log_id,
            writable=False,
        )

    def records(self, identity: PartitionId = FIRST) -> list[Record]:
        return list(self.log(identity).scan())

    def flip(self, record: Record, at: int) -> bool:
        """Let a byte of a record of the first partition go wrong; False: it is not on the disk yet."""
        base = max(s.start.lsn for s in self.log().segments() if s.start.lsn <= record.lsn)
        path = f"/d/{FIRST.directory}/{base:020d}.log"
        pos = 64 + record.lsn - base + at
        byte = self.disk.read_file(path)[pos]
        if not self.disk.is_durable(path):
            return False
        self.disk.damage(path, pos, bytes([byte ^ 0x10]))
        return True


class World:
    """All hosts, their network, and what the metadata say."""

    def __init__(
        self, nursery: trio.Nursery, names: Sequence[str], seed: int, **set_up: Any
    ) -> None:
        self.nursery = nursery
        self.random = Random(seed)
        self.hosts = MemoryHosts()
        self.log_options: LogOptions = set_up.get("log_options", LogOptions())
        self.commit: CommitOptions = set_up.get("commit", CommitOptions())
        self.retention: RetentionLimits = set_up.get("retention", FOR_EVER)
        self.options: ReplicationOptions = set_up.get("options", ReplicationOptions())
        self.min_insync: int = set_up.get("min_insync", 1)
        self.assignments: dict[PartitionId, Assignment] = {}
        #: What becomes of proposals: "decided", "unknown" (decided, but nobody hears it), "lost", "refused".
        self.proposals = "decided"
        #: Nodes that the controller cannot reach, and that do not hear of what the metadata say.
        self.unheard: frozenset[str] = frozenset()
        self.deaf: frozenset[str] = frozenset()
        self.machines: dict[str, Host] = {}
        for name in names:
            self.machines[name] = Host(self, name)

    def __getitem__(self, name: str) -> Host:
        return self.machines[name]

    @property
    def running(self) -> list[Host]:
        return [host for host in self.machines.values() if host.life is not None]

    def place(self, identity: PartitionId, *replicas: str, leader: str = "") -> None:
        """A partition is made."""
        self.assignments[identity] = Assignment(
            leader or replicas[0],
            1,
            tuple(replicas),
            tuple(replicas),
            1,
            min_insync=self.min_insync,
        )

    def change(self, identity: PartitionId, **what: Any) -> Assignment:
        """The metadata change, and all running nodes hear it."""
        old = self.assignments[identity]
        new = self.assignments[identity] = replace(old, version=old.version + 1, **what)
        self.tell(identity)
        return new

    def tell(self, identity: PartitionId) -> None:
        """All running nodes that hold it hear what the metadata say."""
        for host in self.running:
            if identity in host.copies.held() and host.name not in self.deaf:
                host.copies.assign(identity, self.assignments[identity])

    async def propose(
        self, identity: PartitionId, base: Assignment, isr: tuple[str, ...]
    ) -> Assignment | None:
        await trio.sleep(0.01)
        fits = self.assignments[identity].version == base.version
        if self.proposals in {"decided", "unknown"} and fits:
            assert set(isr) <= set(base.replicas)
            self.change(identity, isr=isr)
        return None if self.proposals in {"unknown", "lost"} else self.assignments[identity]

    async def fence(self, identity: PartitionId, epoch: int) -> dict[str, tuple[int, int]]:
        """What the members of the ISR say when they are asked to refuse older leaders."""
        answers: dict[str, tuple[int, int]] = {}
        fence = Fence([(identity.topic_id, identity.partition, epoch)])

        async def ask(name: str) -> None:
            asked = self.machines[name].life
            if asked is None:
                return
            with trio.move_on_after(2):
                fenced = await asked.copies.fence(decode(encode(fence), Fence))
                for _, _, last, end in decode(encode(fenced), Fenced).standings:
                    answers[name] = last, end

        async with trio.open_nursery() as nursery:
            for name in self.assignments[identity].isr:
                if name not in self.unheard:
                    nursery.start_soon(ask, name)
        return answers

    async def elect(self, identity: PartitionId = FIRST, *, prefer: str = "") -> str:
        """What the controller does when a leader is gone; the new leader, "" if there can be none."""
        before = self.assignments[identity]
        answers = await self.fence(identity, before.epoch + 1)
        needed = len(before.isr) - quorum(len(before.isr)) + 1
        if len(answers) < needed or self.assignments[identity].version != before.version:
            return ""
        winner = max(answers, key=lambda name: (answers[name], name == prefer, name))
        self.change(identity, leader=winner, epoch=before.epoch + 1)
        return winner

    def leading(self, identity: PartitionId = FIRST) -> list[tuple[Host, Partition]]:
        """Who serves it, and the partition."""
        found = [(host, host.copies.leading(identity)) for host in self.running]
        return [(host, partition) for host, partition in found if partition is not None]

    async def leader(self, identity: PartitionId = FIRST, *, within_s: float = 30) -> Partition:
        """Wait until exactly one node serves it."""
        with trio.fail_after(within_s):
            while len(leading := self.leading(identity)) != 1:  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.01)
        return leading[0][1]

    async def settled(self, identity: PartitionId = FIRST, *, within_s: float = 60) -> int:
        """Wait until all running copies are level, and have applied all; the end of their logs."""
        with trio.fail_after(within_s):
            while True:
                held = [h for h in self.running if identity in h.copies.held()]
                status = [host.copies.status(identity) for host in held]
                ends = {(s.end_lsn, s.high_watermark) for s in status if s is not None}
                if len(ends) == 1 and (only := ends.pop())[0] == only[1]:
                    return only[0]
                await trio.sleep(0.05)

    def cut_off(self, name: str) -> None:
        """Nothing gets to a node, or from it to others."""
        self.hosts.isolate(name, [other for other in self.machines if other != name])

    def check(self) -> None:
        """That no process died."""
        for host in self.running:
            if host.life is not None and host.life.errors:
                raise ExceptionGroup(f"node {host.name} ended", host.life.errors)


def batch(*ids: str, due_ms: int = START_MS, payload: bytes = b"x") -> EventBatch:
    return EventBatch(encode_batch([Row(name.encode(), due_ms, b"", b"", payload) for name in ids]))


async def publish(partition: Partition, *ids: str, **how: Any) -> Placement | ChronosError:
    """Publish one batch; how it ended."""
    acks = how.pop("acks", None)
    reply = Reply[Placement | ChronosError]()
    try:
        partition.publish(batch(*ids, **how), reply.set, acks)
    except ChronosError as error:
        return error
    return await reply.get()


@asynccontextmanager
async def world(
    _clock: MockClock,
    *names: str,
    seed: int = 0,
    partitions: int = 1,
    start: bool = True,
    **set_up: Any,
) -> AsyncIterator[World]:
    """A cluster of nodes that all hold some partitions, the first of them leading."""
    schedule_by(seed)
    async with trio.open_nursery() as nursery:
        one = World(nursery, names, seed, **set_up)
        for index in range(partitions):
            one.place(PartitionId("t", 1, index), *names)
        if start:
            for host in one.machines.values():
                await host.start()
        try:
            yield one
        finally:
            one.check()
        nursery.cancel_scope.cancel()


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error

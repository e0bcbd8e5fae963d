"""A cluster's metadata in one process: the real Metadata and Peers on hosts made of memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import trio
from trio.testing import MockClock

from chronosdb.node.clock import Clock
from chronosdb.node.environment import Environment
from chronosdb.node.metadata import Cluster, Metadata
from chronosdb.node.peers.calls import Calls
from chronosdb.node.peers.charter import Charter, read_charter, write_charter
from chronosdb.node.peers.handshake import Self
from chronosdb.node.peers.peers import Peers
from chronosdb.raft import Options
from chronosdb.testing.chance import Random
from chronosdb.testing.clock import WallClock
from chronosdb.testing.memory_disk import MemoryDisk
from tests.peers.memory_network import MemoryHosts
from tests.support.seeded_trio import schedule_by

SECRET: Final = b"the secret of the tests"
START_MS: Final = 1_800_000_000_000

Service: TypeAlias = Callable[[], Awaitable[None]]


class Life:
    """One process of a node."""

    def __init__(self, metadata: Metadata, services: Sequence[Service] = ()) -> None:
        self.metadata = metadata
        self.services = services
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.ready = trio.Event()
        self.errors: list[Exception] = []

    async def run(self) -> None:
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.metadata.run)
                    self.ready.set()
                    for service in self.services:
                        nursery.start_soon(service)
        except Exception as error:  # noqa: BLE001 - whatever ended the node, the test looks at it
            self.errors = list(_leaves(error))
        finally:
            self.ended.set()


class Machine:
    """One node's host. The disk outlives the processes."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.disk = MemoryDisk()
        self.life: Life | None = None
        self.disk.mkdir("/d")

    @property
    def metadata(self) -> Metadata:
        assert self.life is not None, f"{self.name} does not run"
        return self.life.metadata

    def set_up(self, others: Sequence[str], *, joins: bool = False) -> None:
        write_charter(
            self.disk,
            "/d/charter",
            self.world.random,
            cluster_id="c1",
            node_id=self.name,
            address=f"{self.name}:1",
            peers={other: f"{other}:1" for other in others},
            joins=joins,
        )

    async def start(self) -> None:
        assert self.life is None
        charter = read_charter(self.disk, "/d/charter")
        assert charter is not None
        self.life = await self._life(charter)
        self.world.nursery.start_soon(self.life.run)

    async def _life(self, charter: Charter) -> Life:
        world = self.world
        env = Environment(
            clock=Clock(WallClock(START_MS)), disk=self.disk, random=Random(world.random.random())
        )
        network = world.hosts.at(self.name)
        me = Self(charter.cluster_id, self.name, charter.birth, SECRET)
        peers = Peers(me, network, env.random)
        listeners = await network.listen(self.name, 1)
        cluster = Cluster(charter, peers, Calls(peers, env.random), listeners, world.options)
        metadata = Metadata(env, "/d", self.name, cluster)
        return Life(metadata, self.services(env, cluster, metadata))

    def services(
        self, _env: Environment, _cluster: Cluster, _metadata: Metadata
    ) -> Sequence[Service]:
        """What else runs on the node, once its metadata is ready."""
        return ()

    async def crash(self) -> None:
        """Cut the power; what was not synced is lost."""
        assert self.life is not None
        life, self.life = self.life, None
        self.disk.cut_power_at(1)
        life.scope.cancel()
        await life.ended.wait()
        self.world.hosts.listeners.pop(self.name, None)
        self.disk.crash()

    async def wipe(self) -> None:
        """The disk is replaced by an empty one."""
        if self.life is not None:
            await self.crash()
        self.disk = MemoryDisk()
        self.disk.mkdir("/d")


class World:
    """All hosts, and their network."""

    def __init__(
        self,
        nursery: trio.Nursery,
        names: Sequence[str],
        seed: int,
        options: Options | None,
        kind: type[Machine] = Machine,
    ) -> None:
        self.nursery = nursery
        self.random = Random(seed)
        self.options = options
        self.kind = kind
        self.hosts = MemoryHosts()
        self.machines: dict[str, Machine] = {}
        for name in names:
            self.add(name).set_up([other for other in names if other != name])

    def add(self, name: str) -> Machine:
        self.machines[name] = self.kind(self, name)
        return self.machines[name]

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    @property
    def running(self) -> list[Machine]:
        return [m for m in self.machines.values() if m.life is not None]

    def leaders(self) -> list[Machine]:
        return [m for m in self.running if m.metadata.is_leader]

    async def leader(self) -> Machine:
        """Wait until exactly one node believes to lead."""
        with trio.fail_after(60):
            while len(leaders := self.leaders()) != 1:  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.05)
        return leaders[0]

    async def start(self) -> None:
        """Start all that do not run, and wait until they are ready."""
        for machine in self.machines.values():
            if machine.life is None:
                await machine.start()
        await self.all_ready()

    async def all_ready(self) -> None:
        with trio.fail_after(60):
            for machine in self.running:
                assert machine.life is not None
                await machine.life.ready.wait()

    def cut_off(self, name: str) -> None:
        self.hosts.isolate(name, [other for other in self.machines if other != name])


@asynccontextmanager
async def world(
    _clock: MockClock,
    *names: str,
    seed: int = 0,
    start: bool = True,
    options: Options | None = None,
    kind: type[Machine] = Machine,
) -> AsyncIterator[World]:
    """A cluster of these voters, under virtual time: everything passes in moments."""
    schedule_by(seed)
    async with trio.open_nursery() as nursery:
        one = World(nursery, names, seed, options, kind)
        if start:
            await one.start()
        yield one
        failures = [e for m in one.running if m.life for e in m.life.errors]
        nursery.cancel_scope.cancel()
    assert failures == []


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error

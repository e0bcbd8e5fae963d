"""Whole clusters of metadata through cuts and power cuts, under virtual time, by seed."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from chronosdb.raft import AdmitNode, CreateTopic, Options
from chronosdb.testing.chance import Random
from chronosdb.wire.errors import ChronosError
from tests.peers.cluster import Machine, World, world

LIFE_S = 45


class Life:
    """Producers on all nodes, and a nemesis."""

    def __init__(self, cluster: World, rng: Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.acked: set[str] = set()
        self.count = 0

    async def produce(self) -> None:
        while True:
            await trio.sleep(self.rng.uniform(0.05, 0.5))
            running = self.cluster.running
            if running:
                await self._create(self.rng.choice(running))

    async def _create(self, machine: Machine) -> None:
        self.count += 1
        name = f"t{self.count}"
        with trio.move_on_after(12):
            try:
                await machine.metadata.submit(CreateTopic(name, 1))
            except ChronosError:
                return
            # A node that lost its power tells nobody anything.
            if machine.life is not None:
                self.acked.add(name)

    async def trouble(self) -> None:
        while True:
            await trio.sleep(self.rng.uniform(0.5, 8))
            deed = self.rng.choice([self.cut, self.cut, self.heal, self.crash, self.change_voters])
            await deed()

    async def cut(self) -> None:
        names = sorted(self.cluster.machines)
        a, b = self.rng.sample(names, 2)
        if self.rng.random() < 0.5:
            self.cluster.hosts.cut(a, b)
        else:
            self.cluster.cut_off(a)
        await trio.lowlevel.checkpoint()

    async def heal(self) -> None:
        self.cluster.hosts.heal()
        await trio.lowlevel.checkpoint()

    async def crash(self) -> None:
        running = self.cluster.running
        if running:
            machine = self.rng.choice(running)
            await machine.crash()
            await trio.sleep(self.rng.uniform(0.1, 5))
            await machine.start()

    async def change_voters(self) -> None:
        running = self.cluster.running
        if not running:
            return
        metadata = self.rng.choice(running).metadata
        name = self.rng.choice(sorted(self.cluster.machines))
        try:
            if name in metadata.view.voters:
                await metadata.change_voters(remove=name)
            else:
                await metadata.change_voters(add=name)
        except ChronosError:
            pass


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
async def test_what_was_acknowledged_is_never_lost(autojump_clock: MockClock, seed: int) -> None:
    """After everything is healed, every node has it, and the cluster works."""
    options = Options(compact_entries=25)
    async with world(autojump_clock, "a", "b", "c", seed=seed, options=options) as cluster:
        await cluster["a"].metadata.submit(AdmitNode("d", "d:1", ""))
        cluster.add("d").set_up("abc", joins=True)
        await cluster.start()
        life = Life(cluster, Random(seed))
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(life.produce)
            nursery.start_soon(life.trouble)
            await trio.sleep(LIFE_S)
            nursery.cancel_scope.cancel()
        cluster.hosts.heal()
        for machine in cluster.machines.values():
            if machine.life is None:
                await machine.start()
        await cluster.all_ready()
        await trio.sleep(10)
        views = [await machine.metadata.read() for machine in cluster.running]
        assert len(life.acked) > 30
        for view in views:
            assert life.acked <= set(view.topics)
            assert view.topics == views[0].topics

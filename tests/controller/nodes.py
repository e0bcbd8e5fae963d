"""Nodes with a real heart and controller, and copies of partitions that are two numbers each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from chronosdb.node.controller.controller import Controller
from chronosdb.node.controller.elections import Standing
from chronosdb.node.controller.heart import Heart
from chronosdb.node.controller.life import begin_life
from chronosdb.node.controller.operations import Operations
from chronosdb.node.controller.options import ControllerOptions
from chronosdb.node.controller.proposals import Proposer
from chronosdb.node.environment import Environment
from chronosdb.node.metadata import Cluster, Metadata
from chronosdb.node.replication.messages import Fence, Fenced, Handover, decode, encode
from chronosdb.raft import ClusterView, CreateTopic, NodeState, TopicInfo
from tests.peers.cluster import START_MS, Machine, Service, World, world

OPTIONS = ControllerOptions()


class Copies:
    """What is on a node's disk of each partition, and what it promised."""

    def __init__(self) -> None:
        self.standings: dict[tuple[int, int], Standing] = {}
        self.promises: dict[tuple[int, int], int] = {}
        #: Whether it answers.
        self.answers = True
        self.hands_over = True
        #: Whether it catches up with leaders.
        self.level = True
        self.asked: list[Handover] = []

    async def fence(self, fence: Fence) -> Fenced:
        await trio.lowlevel.checkpoint()
        rows = []
        for topic_id, partition, epoch in fence.wants if self.answers else []:
            key = topic_id, partition
            self.promises[key] = max(epoch, self.promises.get(key, 0))
            rows.append((*key, *self.standings.get(key, (0, 0))))
        return Fenced(rows)

    async def handover(self, handover: Handover) -> bool:
        await trio.lowlevel.checkpoint()
        self.asked.append(handover)
        return self.hands_over

    async def serve_fence(self, _peer: str, body: bytes) -> bytes:
        return encode(await self.fence(decode(body, Fence)))

    async def serve_handover(self, _peer: str, body: bytes) -> bytes:
        return encode(await self.handover(decode(body, Handover)))


class Controlled(Machine):
    """One node's host."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        #: Survives crashes, as a disk does.
        self.copies = Copies()
        self.controllers: list[Controller] = []
        self.hearts: list[Heart] = []
        self.envs: list[Environment] = []

    @property
    def controller(self) -> Controller:
        return self.controllers[-1]

    @property
    def heart(self) -> Heart:
        return self.hearts[-1]

    def set_clock_ahead(self, ms: int) -> None:
        """Of what it should be."""
        env = self.envs[-1]
        env.clock.now_ms = lambda: START_MS + ms + round(1000 * trio.current_time())  # type: ignore[method-assign]

    def services(self, env: Environment, cluster: Cluster, metadata: Metadata) -> Sequence[Service]:
        calls = cluster.calls
        controller = Controller(env, self.name, metadata, calls, OPTIONS)
        controller.hold(self.copies)
        calls.serve("fence", self.copies.serve_fence)
        calls.serve("handover", self.copies.serve_handover)
        heart = Heart(
            env, self.name, metadata=metadata, calls=calls, controller=controller, options=OPTIONS
        )
        self.envs.append(env)
        self.controllers.append(controller)
        self.hearts.append(heart)

        proposer = Proposer(metadata)

        async def live() -> None:
            await heart.run(await begin_life(metadata, self.name, f"{self.name}:9000"))

        async def lead() -> None:
            while True:
                await trio.sleep(0.1)
                if heart.held:
                    await self._lead(metadata, proposer)

        return controller.run, proposer.run, live, lead

    async def _lead(self, metadata: Metadata, proposer: Proposer) -> None:
        """As a leader does: whoever runs is level at once, whoever is to leave is let go."""
        async with trio.open_nursery() as nursery:
            for topic in metadata.view.topics.values():
                for p, leader in enumerate(topic.leaders):
                    isr = self._next_isr(topic, p) if leader == self.name else topic.isrs[p]
                    if isr != topic.isrs[p]:
                        change = (topic.name, topic.id, p, topic.versions[p], isr)
                        nursery.start_soon(proposer.propose, *change)

    def _next_isr(self, topic: TopicInfo, p: int) -> tuple[str, ...]:
        up = {m.name for m in self.world.running if isinstance(m, Controlled) and m.copies.level}
        stay = (up | {*topic.isrs[p]}) - {*topic.leaving(p)}
        isr = [node for node in topic.replicas[p] if node in stay]
        for node in isr:
            machine = self.world.machines.get(node)
            if isinstance(machine, Controlled) and machine.copies.level:
                ours = self.copies.standings.get((topic.id, p), Standing(0, 0))
                machine.copies.standings[topic.id, p] = ours
        return tuple(isr)


class Nodes:
    """A cluster of them."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __getitem__(self, name: str) -> Controlled:
        machine = self.world[name]
        assert isinstance(machine, Controlled)
        return machine

    def add(self, name: str) -> None:
        """A host for a node that joins; `world.start` starts it."""
        others = [machine.name for machine in self.world.running]
        self.world.add(name).set_up(others, joins=True)

    @property
    def operations(self) -> Operations:
        """Of some node."""
        return Operations(self.running[0].metadata)

    @property
    def view(self) -> ClusterView:
        """The newest one."""
        return max((n.metadata.view for n in self.running), key=lambda view: view.version)

    @property
    def running(self) -> list[Controlled]:
        return [self[machine.name] for machine in self.world.running]

    async def chief(self) -> Controlled:
        """Whoever leads the metadata."""
        return self[(await self.world.leader()).name]

    async def alive(self) -> None:
        """Wait until all that run may lead."""
        with trio.fail_after(30):
            while not all(node.heart.held for node in self.running):  # noqa: ASYNC110
                await trio.sleep(0.05)

    async def topic(self, partitions: int = 1, replication: int = 3, name: str = "t") -> TopicInfo:
        """Create one, everywhere level."""
        node = self.running[0]
        settings = {"replication": replication}
        await node.metadata.submit(CreateTopic(name, partitions, settings))
        topic = node.metadata.view.topics[name]
        for p in range(partitions):
            for holder in topic.replicas[p]:
                self[holder].copies.standings[topic.id, p] = Standing(1, 100)
        return topic

    def now(self, name: str = "t") -> TopicInfo:
        """A topic as it is."""
        return self.view.topics[name]

    def state(self, name: str) -> NodeState:
        return self.view.nodes[name].state

    async def until(self, condition: object, within_s: float = 10) -> float:
        """Wait for a condition; how long it took."""
        assert callable(condition)
        began_s = trio.current_time()
        with trio.fail_after(within_s):
            while not condition():  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.01)
        return trio.current_time() - began_s


@asynccontextmanager
async def nodes(clock: MockClock, *names: str, seed: int = 0) -> AsyncIterator[Nodes]:
    """A cluster of these nodes, all of them alive."""
    async with world(clock, *names, seed=seed, kind=Controlled) as cluster:
        them = Nodes(cluster)
        await them.alive()
        yield them

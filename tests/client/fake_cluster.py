"""Several nodes in memory that replicate everything at once: who leads, dies or falls silent is the test's to say.

What is stored and settled is stored and settled everywhere, as a real cluster has it for whatever was
acked. Each node has a view of who leads that the test may hold back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, TaskGroup

from chronosdb.client import Client, Seams, connect
from chronosdb.client.background import background_tasks
from chronosdb.wire import messages as m
from chronosdb.wire.errors import NotLeader, Overloaded
from tests.client.fake_node import FakeNode, Member, Partition, Peer, failed

NAMES = ("n1", "n2", "n3")


def address(name: str) -> str:
    """Where the node of this name is, as nodes say it; "" of nobody."""
    return f"{name}:9000" if name else ""


class ClusterNode(FakeNode):
    """One of the nodes."""

    def __init__(self, cluster: FakeCluster, tasks: TaskGroup, name: str) -> None:
        super().__init__(tasks)
        self.name = name
        #: It takes connections and frames, and says nothing any more.
        self.silent = False
        #: It does not hear of changes: what it says of leaders is what it knew then.
        self.view: tuple[int, dict[tuple[str, int], str]] | None = None
        #: What became of credits, by subscription.
        self.recalled: list[int] = []
        self._cluster = cluster
        self.topics = cluster.topics
        self._partitions = cluster.partitions
        self._cursors = cluster.cursors

    async def dial(self, host: str, port: int) -> ByteStream:
        """As `FakeNode.dial`; while the node is silent nothing comes of it."""
        if self.silent:
            self.dialled.append((host, port))
            await anyio.sleep_forever()
        return await super().dial(host, port)

    def handle(self, peer: Peer, message: m.Message) -> None:
        """Answer one message, if it is for this node."""
        if self.silent:
            self.received.append(message)
            return
        super().handle(peer, message)

    def leads(self, topic: str, number: int) -> bool:
        """Whether it serves a partition; nobody does while the test says so."""
        return self._cluster.leaders[topic, number] == self.name

    def _answer(self, peer: Peer, message: m.Message) -> None:
        number = getattr(message, "partition", None)
        if number is not None:
            named = getattr(message, "topic", None)
            topic = named or self._member(peer, message.subscription).topic  # type: ignore[attr-defined]
            self._refuse(topic, number)
        match message:
            case m.Hello():
                peer.hello = message
                welcome = m.Welcome(1, "cluster", self.name, self.now_ms, 2**24, address(self.name))
                peer.say(welcome)
            case m.DescribeTopic():
                self._topic(message.name)
                peer.say(self._described(message.request, message.name))
            case m.CreateTopic():
                made = self._create(message).created
                self._cluster.place(message.name, message.partitions)
                peer.say(self._described(message.request, message.name, created=made))
            case m.Recall():
                member = self._member(peer, message.subscription)
                taken = min(message.credits, member.credits)
                member.credits -= taken
                self.recalled.append(taken)
                peer.say(m.Recalled(message.request, taken))
            case _:
                super()._answer(peer, message)

    def _refuse(self, topic: str, number: int) -> None:
        self._topic(topic)
        leader = self._cluster.leaders[topic, number]
        if not leader:
            raise Overloaded("nobody leads it now", details={"leader": ""})
        if leader != self.name:
            known = self._view()[1][topic, number]
            hint = known if known != self.name else ""
            raise NotLeader(f"{self.name} does not lead it", details={"leader": address(hint)})

    def _view(self) -> tuple[int, dict[tuple[str, int], str]]:
        return self.view or (self._cluster.version, self._cluster.leaders)

    def _described(self, request: int, name: str, *, created: bool = False) -> m.TopicReply:
        info = self.topics[name]
        version, leaders = self._view()
        named = [address(leaders[name, number]) for number in range(info.partitions)]
        shown = m.TopicInfo(name, info.partitions, info.settings, named, info.created_ms)
        nodes = [address(name) for name in self._cluster.nodes]
        return m.TopicReply(request, shown, created, nodes, version)

    def _deliver_to(self, member: Member, number: int, partition: Partition) -> None:
        if self.leads(member.topic, number) and not self.silent:
            super()._deliver_to(member, number, partition)


class FakeCluster:
    """The nodes, and who leads what. Partitions of a new topic are led in turn."""

    def __init__(self, tasks: TaskGroup, names: Sequence[str] = NAMES) -> None:
        self.topics: dict[str, m.TopicInfo] = {}
        self.leaders: dict[tuple[str, int], str] = {}
        self.version = 1
        shared = FakeNode(tasks)
        self.partitions = shared._partitions
        self.cursors = shared._cursors
        self._tasks = tasks
        self.nodes: dict[str, ClusterNode] = {}
        for name in names:
            self.add(name)

    def add(self, name: str) -> ClusterNode:
        """One more node."""
        self.nodes[name] = ClusterNode(self, self._tasks, name)
        return self.nodes[name]

    def __getitem__(self, name: str) -> ClusterNode:
        return self.nodes[name]

    async def dial(self, host: str, port: int) -> ByteStream:
        """The stream factory to give to `connect`."""
        return await self.nodes[host].dial(host, port)

    def place(self, topic: str, partitions: int) -> None:
        """Partitions without a leader get one."""
        names = list(self.nodes)
        for number in range(partitions):
            self.leaders.setdefault((topic, number), names[number % len(names)])

    def lead(self, topic: str, number: int, name: str, *, tell: bool = True) -> None:
        """From now on `name` leads a partition; "": nobody does."""
        self.leaders = {**self.leaders, (topic, number): name}
        self.version += 1
        for cursor in (at for (of, n, _), at in self.cursors.items() if (of, n) == (topic, number)):
            cursor.leases.clear()
        for node in self.nodes.values():
            for peer in node.peers if tell and not node.silent and node.view is None else ():
                peer.say(m.LeadersChanged(topic))
            if not node.silent:
                node._deliver()

    def fail_over(self, name: str, to: str, *, tell: bool = True) -> None:
        """Another node leads all that one led."""
        for (topic, number), leader in list(self.leaders.items()):
            if leader == name:
                self.lead(topic, number, to, tell=tell)

    def kill(self, name: str) -> None:
        """A node dies, and still leads what it led, as far as the others know."""
        node = self.nodes[name]
        node.down = True
        node.cut_all()

    def cursor_of(self, partition: int) -> set[int]:
        """What group "g" has settled of a partition of "orders"."""
        return self.cursors["orders", partition, "g"].settled

    def total(self, kind: type[m.Message]) -> int:
        """How many messages of a kind arrived anywhere."""
        return sum(len(node.got(kind)) for node in self.nodes.values())


@asynccontextmanager
async def running_cluster(names: Sequence[str] = NAMES) -> AsyncIterator[FakeCluster]:
    """Nodes for the length of a block."""
    async with background_tasks() as tasks:
        yield FakeCluster(tasks, names)


@asynccontextmanager
async def client_of(cluster: FakeCluster, addresses: str = "n1") -> AsyncIterator[Client]:
    """A client that begins at `addresses`, with waits of the longest length."""
    seams = Seams(now_ms=lambda: cluster["n1"].now_ms, unit=lambda: 0.0)
    async with connect(addresses, stream_factory=cluster.dial, seams=seams) as client:
        yield client


@asynccontextmanager
async def cluster_and_client(
    partitions: int = 3, addresses: str = "n1"
) -> AsyncIterator[tuple[FakeCluster, Client]]:
    """Three nodes with the topic "orders", and a client; partition i is led by node i + 1."""
    async with running_cluster() as cluster, client_of(cluster, addresses) as client:
        await client.create_topic("orders", partitions)
        yield cluster, client


__all__ = ["FakeCluster", "address", "client_of", "cluster_and_client", "failed", "running_cluster"]

"""Drives replicas under a fake clock: one alone, or a cluster over an in-memory network."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence

import msgpack

from chronosdb.raft import (
    Command,
    Message,
    Options,
    Outcome,
    Replica,
    Request,
    Result,
    Storage,
)

TICK_S = 0.05


def settled(outcome: Outcome) -> Result:
    """The result of a command that must have been applied."""
    assert isinstance(outcome, Result), outcome
    return outcome


class FakeClock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Single:
    """A cluster of one, with a client that numbers its requests."""

    def __init__(
        self,
        storage: Storage,
        *,
        client: str = "c",
        options: Options | None = None,
        path: str = "d",
    ) -> None:
        self.clock = FakeClock()
        self.client = client
        self.seq = 0
        self.replica = Replica(
            storage,
            path,
            node_id="n1",
            clock=self.clock,
            rng=random.Random(7),
            options=options,
        )
        self.tick()

    def tick(self) -> None:
        self.clock.now_s += TICK_S
        self.replica.tick()

    def send(self, command: Command, on_result: Callable[[Outcome], None]) -> None:
        self.seq += 1
        self.replica.submit(Request(self.client, self.seq, self.seq, command), on_result)

    def do(self, command: Command) -> Result:
        """Submit a command and give its result, which one tick must bring."""
        outcomes: list[Outcome] = []
        self.send(command, outcomes.append)
        self.tick()
        (outcome,) = outcomes
        return settled(outcome)


class Network:
    """FIFO links between replicas. Messages cross as msgpack, as they will on a real wire."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._queues: dict[tuple[str, str], deque[bytes]] = {
            (a, b): deque() for a in names for b in names if a != b
        }
        self.cut: set[str] = set()

    def endpoint(self, name: str) -> Endpoint:
        return Endpoint(self, name)

    def put(self, sender: str, peer: str, message: Message) -> bool:
        if self.cut & {sender, peer}:
            return False
        self._queues[sender, peer].append(msgpack.packb(message))
        return True

    def has_room(self, sender: str, peer: str) -> bool:
        return sum(map(len, self._queues[sender, peer])) < 1024 * 1024

    def take(self, sender: str, peer: str) -> Message | None:
        queue = self._queues[sender, peer]
        if self.cut & {sender, peer}:
            queue.clear()
        return msgpack.unpackb(queue.popleft(), use_list=False) if queue else None


class Endpoint:
    """One node's `chronosdb.raft.Transport`."""

    def __init__(self, network: Network, name: str) -> None:
        self._network = network
        self._name = name

    def send(self, peer: str, message: Message) -> bool:
        return self._network.put(self._name, peer, message)

    def has_room(self, peer: str) -> bool:
        return self._network.has_room(self._name, peer)


class Cluster:
    """Several voters in one process."""

    def __init__(self, storages: dict[str, Storage], options: Options | None = None) -> None:
        self.clock = FakeClock()
        self.network = Network(list(storages))
        self._storages = storages
        self._options = options
        self.replicas: dict[str, Replica] = {}
        self.seq = 0
        for name in storages:
            self.start(name)

    def start(self, name: str) -> None:
        peers = [other for other in self._storages if other != name]
        self.replicas[name] = Replica(
            self._storages[name],
            "d",
            node_id=name,
            peers=peers,
            transport=self.network.endpoint(name),
            clock=self.clock,
            rng=random.Random(name),
            options=self._options,
        )
        self.network.cut.discard(name)
        for other in peers:
            if other in self.replicas and other not in self.network.cut:
                self.replicas[name].connected(other)
                self.replicas[other].connected(name)

    def stop(self, name: str) -> None:
        """A crash: nothing is closed, nothing is told."""
        self.network.cut.add(name)
        del self.replicas[name]
        for replica in self.replicas.values():
            replica.disconnected(name)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.clock.now_s += TICK_S
            for replica in self.replicas.values():
                replica.tick()
            self._deliver_all()

    def _deliver_all(self) -> None:
        for _ in range(50):
            if not sum(self._deliver(a, b) for a in self.replicas for b in self.replicas if a != b):
                return

    def _deliver(self, sender: str, peer: str) -> int:
        message = self.network.take(sender, peer)
        if message is None:
            return 0
        self.replicas[peer].deliver(sender, message)
        self.replicas[peer].tick()
        return 1

    def leader(self) -> Replica:
        """The one leader there must be."""
        (leader,) = [r for r in self.replicas.values() if r.is_leader]
        return leader

    def do(self, command: Command) -> Result:
        outcomes: list[Outcome] = []
        self.seq += 1
        self.leader().submit(Request("c", self.seq, self.seq, command), outcomes.append)
        self.run(0.5)
        (outcome,) = outcomes
        return settled(outcome)

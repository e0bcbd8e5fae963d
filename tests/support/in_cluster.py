"""Several real nodes inside the test's own process, on a network that can be cut: see `in_process` for one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, cast, final

import anyio.abc
import trio
from trio.testing import MockClock

from chronosdb.client import Client, connect
from chronosdb.client.seams import Seams
from chronosdb.node.cluster.in_cluster import InCluster
from chronosdb.node.configuration.config import Address
from chronosdb.node.environment import Environment, Listeners
from chronosdb.raft import ClusterView, TopicInfo
from chronosdb.testing.machine import Machine
from chronosdb.testing.network import AnyioStream, MemoryListener, MemoryStream, stream_pair
from tests.peers.memory_network import Line, MemoryHosts
from tests.support.in_process import START_MS
from tests.support.raw_client import RawClient
from tests.support.seeded_trio import schedule_by

_CLIENTS, _PEERS = 9000, 9001


@final
class Interface:
    """One machine's network."""

    def __init__(self, hosts: MemoryHosts, name: str) -> None:
        self._hosts = hosts
        self._name = name

    async def listen(self, host: str, port: int) -> Listeners:
        assert host == self._name
        await trio.lowlevel.checkpoint()
        listener = self._hosts.listeners[f"{host}:{port}"] = MemoryListener()
        return [listener]

    async def open_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        await self._hosts.passage(self._name, host)
        await self._hosts.passage(host, self._name)
        listener = self._hosts.listeners.get(f"{host}:{port}")
        ours, theirs = stream_pair()
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        try:
            line = Line(theirs, self._hosts, host, self._name)
            await listener.queue.send(cast("MemoryStream", line))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ConnectionRefusedError(f"nobody listens any more at {host}:{port}") from None
        return Line(ours, self._hosts, self._name, host)


class Node(Machine):
    """One node of the cluster, and its machine."""

    def __init__(self, cluster: Cluster, name: str, settings: dict[str, Any], seed: int) -> None:
        super().__init__(cluster.nursery, settings, start_ms=START_MS, seed=seed)
        self.name = name
        self.hosts = cluster.hosts

    def environment(self) -> Environment:
        return replace(super().environment(), network=Interface(self.hosts, self.name))

    @property
    def member(self) -> InCluster:
        assert self.node is not None
        assert isinstance(self.node.member, InCluster)
        return self.node.member

    @property
    def view(self) -> ClusterView:
        return self.member.metadata.view

    async def connect(self) -> RawClient:
        """A raw client of this node, which has shaken hands."""
        client = RawClient(self.dial, lambda: self.now_ms)
        await client.connect()
        return client

    async def dial(self) -> trio.abc.HalfCloseableStream:
        return await Interface(self.hosts, "client").open_stream(self.name, _CLIENTS)

    async def kill(self) -> None:
        """The power goes; the others find its connections dead."""
        await self.crash()
        for port in (_CLIENTS, _PEERS):
            self.hosts.listeners.pop(f"{self.name}:{port}", None)


@final
class Cluster:
    """All of them."""

    def __init__(
        self, nursery: trio.Nursery, names: Sequence[str], seed: int, settings: dict[str, Any]
    ) -> None:
        self.nursery = nursery
        self.hosts = MemoryHosts()
        voters = tuple((name, Address(name, _PEERS)) for name in names)
        self.nodes = {
            name: Node(
                self,
                name,
                settings
                | {
                    "node_id": name,
                    "listen": Address(name, _CLIENTS),
                    "peer_listen": Address(name, _PEERS),
                    "initial_cluster": voters,
                    "cluster_secret_file": "/secret",
                    "insecure_i_know": True,
                },
                seed + number,
            )
            for number, name in enumerate(names)
        }
        for node in self.nodes.values():
            node.disk.write_file_atomic("/secret", b"the secret of the tests")

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.serves]

    @property
    def any(self) -> Node:
        """One that runs."""
        return self.running[0]

    async def start(self) -> None:
        for node in self.nodes.values():
            node.launch()
        for node in self.nodes.values():
            await node.settled()

    async def stop(self) -> None:
        async with trio.open_nursery() as nursery:
            for node in self.running:
                nursery.start_soon(node.stop)

    async def chief(self) -> Node:
        """The node that leads the metadata, once all that run agree."""
        with trio.fail_after(60):
            while True:  # no event says so
                leaders = {node.member.metadata.leader for node in self.running}
                if len(leaders) == 1 and (name := leaders.pop()) in {n.name for n in self.running}:
                    return self.nodes[name]
                await trio.sleep(0.05)

    async def topic(self, name: str = "t", partitions: int = 3, **settings: int) -> TopicInfo:
        """Create one; every node knows it when this returns, and someone leads each partition."""
        client = await self.any.connect()
        await client.create_topic(name, partitions, **settings)
        await client.close()
        return await self.led(name)

    async def led(self, name: str = "t") -> TopicInfo:
        """The topic, once every node that runs agrees on who leads it, and those run."""
        with trio.fail_after(60):
            while True:
                infos = [node.view.topics.get(name) for node in self.running]
                info = infos[0]
                alive = {node.name for node in self.running}
                if info is not None and infos == [info] * len(infos) and alive >= {*info.leaders}:
                    return info
                await trio.sleep(0.05)

    def library(
        self, name: str = "library", *, timeout_s: float = 10.0
    ) -> AbstractAsyncContextManager[Client]:
        """The client library, which may reach all nodes."""
        first = next(iter(self.nodes.values()))
        seams = Seams(
            now_ms=lambda: first.now_ms,
            random_bytes=first.random.randbytes,
            unit=first.random.random,
        )

        async def dial(host: str, port: int) -> anyio.abc.ByteStream:
            stream = await Interface(self.hosts, name).open_stream(host, port)
            return AnyioStream(cast("MemoryStream", stream))

        return connect(
            ",".join(f"{name}:{_CLIENTS}" for name in self.nodes),
            timeout=timeout_s,
            client_name=name,
            stream_factory=dial,
            seams=seams,
        )


@asynccontextmanager
async def cluster(
    _clock: MockClock, *names: str, seed: int = 0, **settings: Any
) -> AsyncIterator[Cluster]:
    """A running cluster of these voters, three if not told; stopped in order at the end."""
    settings.setdefault("idle_timeout_ms", 24 * 3_600_000)
    schedule_by(seed)
    async with trio.open_nursery() as nursery:
        one = Cluster(nursery, names or ("n1", "n2", "n3"), seed, settings)
        await one.start()
        yield one
        await one.stop()

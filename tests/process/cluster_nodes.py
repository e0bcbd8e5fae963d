"""Real `chronos-node` processes that are one cluster, on this machine."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from chronosdb.client import connect
from tests.process.cluster_network import Cables
from tests.process.harness import NodeProcess, chronos, free_port

FOUNDERS: Final = ("n1", "n2", "n3")
#: One name for all, because each node is told other addresses of its peers than the others are.
CLUSTER: Final = "local"
_SECRET: Final = b"known to all nodes of the tests\n"
_START_S: Final = 120.0


class ClusterNode:
    """One node, and the ports that it keeps over its lives."""

    def __init__(self, directory: Path, name: str, *, forwarded: bool) -> None:
        self.name = name
        self.peer_port = free_port()
        #: Where its peers dial: the port of a forwarder, or its own.
        self.advertised_port = free_port() if forwarded else self.peer_port
        self.process = NodeProcess(directory / name, directory / f"{name}.log")
        self.process.address = f"127.0.0.1:{free_port()}"
        self.paused = False

    @property
    def serves(self) -> bool:
        """Whether the process runs and is not paused."""
        return self.process.running and not self.paused

    @property
    def peer_address(self) -> str:
        """Where its peers dial."""
        return f"127.0.0.1:{self.advertised_port}"

    def pause(self) -> None:
        """SIGSTOP."""
        self.process.send(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send(signal.SIGCONT)
        self.paused = False


class Cluster:
    """Nodes by name. Use `running`: no process outlives the block."""

    def __init__(
        self, directory: Path, options: Sequence[str] = (), *, cables: Cables | None = None
    ) -> None:
        """With `cables`, what nodes say to each other can be cut."""
        self.cables = cables
        self.nodes: dict[str, ClusterNode] = {}
        self._directory = directory
        self._options = tuple(options)
        self._secret = directory / "secret"
        self._nursery: trio.Nursery | None = None

    def __getitem__(self, name: str) -> ClusterNode:
        return self.nodes[name]

    @property
    def servers(self) -> str:
        """Where clients begin: all nodes, whether they serve or not."""
        return ",".join(node.process.address for node in self.nodes.values())

    @asynccontextmanager
    async def running(self, founders: Iterable[str] = FOUNDERS) -> AsyncIterator[None]:
        """A new cluster of these nodes, which serves; none of them is there afterwards."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._secret.write_bytes(_SECRET)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for name in founders:
                await self._add(name)
            first = ",".join(f"{node.name}={node.peer_address}" for node in self.nodes.values())
            for node in self.nodes.values():
                node.process.options = (*self._node_options(node), "--initial-cluster", first)
            try:
                await self.start(*self.nodes)
                yield
            finally:
                with trio.CancelScope(shield=True):
                    await self.kill(*self.nodes)
                nursery.cancel_scope.cancel()

    async def start(self, *names: str) -> None:
        """Start nodes that do not run, all at once; returns when they serve."""
        with trio.fail_after(_START_S):
            for name in names:
                await self[name].process.launch()
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(self[name].process.serving)

    async def kill(self, *names: str) -> None:
        """Kill -9, all before any of them is waited for."""
        there = [self[name] for name in names if self[name].process.running]
        for node in there:
            node.process.send(signal.SIGKILL)
            node.paused = False
        for node in there:
            await node.process.kill()

    async def replace(self, gone: str, new: str) -> None:
        """Take a node that will not come back out of the cluster, and have a new one join."""
        await self.kill(gone)
        del self.nodes[gone]
        await self.command("remove", gone, "--force", "--yes")
        node = await self._add(new)
        await self.command("add", f"{new}={node.peer_address}")
        others = [one for one in self.nodes.values() if one.name != new]
        known = ",".join(f"{one.name}={one.peer_address}" for one in others)
        node.process.options = (*self._node_options(node), "--join", known)
        await self.start(new)

    async def command(self, *words: str) -> str:
        """`chronos cluster …`, asked of all nodes; what it printed. Fails when it does."""
        done = await chronos("--server", self.servers, "cluster", *words)
        assert done.code == 0, f"chronos cluster {' '.join(words)}: {done.err or done.out}"
        return done.out

    async def leaders(self, topic: str) -> list[str]:
        """The name of the node that leads each partition; "" where nobody does."""
        async with connect(self.servers, timeout=5) as db:
            return [one.leader for one in await db.cluster.topic(topic)]

    async def level(self, topic: str) -> bool:
        """Whether every partition is led, and all copies on all nodes have all of its log."""
        async with connect(self.servers, timeout=5) as db:
            return all(
                one.leader
                and len(one.copies) == len(self.nodes)
                and all(copy.in_sync and copy.lag_bytes in {0, None} for copy in one.copies)
                for one in await db.cluster.topic(topic)
            )

    async def _add(self, name: str) -> ClusterNode:
        node = ClusterNode(self._directory, name, forwarded=self.cables is not None)
        self.nodes[name] = node
        if self.cables is not None:
            assert self._nursery is not None
            forward, ports = self.cables.forward, (node.advertised_port, node.peer_port)
            await self._nursery.start(forward, name, *ports)
        return node

    def _node_options(self, node: ClusterNode) -> tuple[str, ...]:
        return (
            *("--node-id", node.name, "--cluster-name", CLUSTER),
            *("--peer-listen", f"127.0.0.1:{node.peer_port}"),
            *("--peer-advertise", node.peer_address),
            *("--cluster-secret-file", str(self._secret)),
            *self._options,
        )

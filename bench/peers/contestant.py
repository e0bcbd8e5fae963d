"""ChronosDB and its peers, seen from outside: what all of them can do, so that one work measures all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from bench import publishing, receiving
from bench.errors import BenchError
from bench.lab import Lab, free_ports
from bench.load import Load
from bench.node_process import NodeProcess
from bench.peers import clients
from bench.peers.peer import Peer
from bench.peers.server import Server
from bench.publishing import Pace, Singles
from bench.receiving import Handling, Receipts, until_state
from bench.stopwatch import Spent


class Serving(Protocol):
    """A server that serves, with its client."""

    def publish(self, load: Load) -> Spent:
        """Store events; what that took the client."""

    def singles(self, callers: int, pace: Pace) -> Singles:
        """Store events one by one."""

    def receive(self, count: int, until_ms: int) -> Future[Receipts]:
        """Begin to consume."""

    def drain(self, load: Load) -> Spent:
        """Consume what `load` left, which was due at once."""

    def rss_bytes(self) -> int:
        """Resident memory of the server."""

    def make_durable(self) -> None:
        """From now on an ack means: on disk."""

    def crash(self, load: Load) -> float:
        """Kill -9 and start; the seconds until it served, with the load still there."""


class Contestant(Protocol):
    """A system to measure."""

    @property
    def name(self) -> str:
        """As tables call it."""

    @property
    def slow(self) -> bool:
        """It syncs once for each event: give it fewer."""

    def missing(self) -> str | None:
        """What is not installed and how to get it; None if all is there."""

    def serving(self, lab: Lab, *, durable: bool) -> AbstractContextManager[Serving]:
        """A server without a past, gone when the block ends."""


class Ours:
    """A node with default settings, and the public client library: the same as in all other pieces."""

    name = "ChronosDB"
    slow = False

    def missing(self) -> str | None:
        """We are there."""
        return None

    @contextmanager
    def serving(self, lab: Lab, *, durable: bool) -> Iterator[Serving]:
        """A node is always durable."""
        del durable
        with lab.home() as home:
            node = _OurNode(lab, home)
            try:
                yield node
            finally:
                node.process.kill()


class _OurNode:
    def __init__(self, lab: Lab, home: Path) -> None:
        self._lab = lab
        self._home = home
        self.process = NodeProcess(home)

    def publish(self, load: Load) -> Spent:
        return self._lab.run(publishing.publish, self.process.address, load)

    def singles(self, callers: int, pace: Pace) -> Singles:
        address = self.process.address
        return self._lab.run(publishing.publish_singles, address, "bench", callers, pace)

    def receive(self, count: int, until_ms: int) -> Future[Receipts]:
        address = self.process.address
        return self._lab.start(receiving.receive, address, "bench", count, until_ms)

    def drain(self, load: Load) -> Spent:
        address, topic = self.process.address, load.topic
        self._lab.run(until_state, address, topic, load.edge_ids(), "fired")
        return self._lab.run(receiving.drain, address, topic, "bench", load.count, Handling.READ)

    def rss_bytes(self) -> int:
        return self.process.rss_bytes()

    def make_durable(self) -> None:
        pass

    def crash(self, load: Load) -> float:
        self.process.kill()
        self.process = NodeProcess(self._home)
        address = self.process.address
        self._lab.run(until_state, address, load.topic, load.edge_ids(), "pending")
        return self.process.ready_s


class Theirs:
    """A peer, with the thinnest client that can be: a socket and a loop."""

    def __init__(self, kind: type[Peer]) -> None:
        self._kind = kind
        self.name = kind.name
        self.slow = kind.slow

    def missing(self) -> str | None:
        """As the peer says."""
        return self._kind.missing()

    @contextmanager
    def serving(self, lab: Lab, *, durable: bool) -> Iterator[Serving]:
        """A server with an empty queue."""
        with lab.home() as home:
            peer = self._kind(*free_ports(1))
            peer.prepare(home)
            server = Server(peer, home)
            try:
                server.start(durable=durable)
                peer.setup()
                yield _TheirServer(lab, peer, server)
            finally:
                server.kill()


class _TheirServer:
    def __init__(self, lab: Lab, peer: Peer, server: Server) -> None:
        self._lab = lab
        self._peer = peer
        self._server = server

    def publish(self, load: Load) -> Spent:
        return self._lab.run(clients.publish, self._peer, load)

    def singles(self, callers: int, pace: Pace) -> Singles:
        return self._lab.run(clients.publish_singles, self._peer, callers, pace)

    def receive(self, count: int, until_ms: int) -> Future[Receipts]:
        return self._lab.start(clients.receive, self._peer, count, until_ms)

    def drain(self, load: Load) -> Spent:
        return self._lab.run(clients.drain, self._peer, load.count)

    def rss_bytes(self) -> int:
        return self._server.rss_bytes()

    def make_durable(self) -> None:
        self._server.stop()
        self._server.start(durable=True)

    def crash(self, load: Load) -> float:
        self._server.kill()
        took_s = self._server.start(durable=True)
        found = self._peer.pending()
        if found < load.count:
            raise BenchError(f"{load.count - found} of {load.count} events are gone after kill -9")
        return took_s

"""The connections of a client: one to any node, always; one to each other node that is needed.

A node that is all there is (`Welcome.address` empty) is the any node, and there is no other. So a client
of one node has one connection, whatever it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import anyio
from anyio.abc import TaskGroup

from chronosdb.client.connection import Connection
from chronosdb.client.contacts import address_of
from chronosdb.client.dialer import Dialer
from chronosdb.client.errors import client_closed
from chronosdb.client.lane import IDLE_S, Lane
from chronosdb.client.link import Link
from chronosdb.client.retry import Retry
from chronosdb.client.signal import Signal
from chronosdb.wire.errors import ConnectionLost, Overloaded

#: Nodes with a connection at the same time, beside the first.
MAX_LANES: Final = 64
#: How long a request that could go elsewhere waits for a node that was never called before.
REACH_S: Final = 1.0

#: Is told of a topic whose leaders have changed, by the node at the other end.
Heard = Callable[[str, Connection], None]


class Nodes:
    """Connections by node. `run` must be running."""

    def __init__(
        self, dialer: Dialer, retry: Retry, connection: Connection, tasks: TaskGroup
    ) -> None:
        self._dialer = dialer
        self._retry = retry
        self._tasks = tasks
        #: Fires when a node can be reached, or cannot.
        self.changed = Signal()
        #: To whom what a connection says of leaders is handed on.
        self.on_leaders_changed: Heard = _ignore
        self._cluster_id = connection.welcome.cluster_id
        #: Whether other nodes may lead what this one does not.
        self.clustered = False
        self._any = Link(dialer, retry, connection, self._met)
        #: By address. Invariant: at most MAX_LANES; `_sweep` is running while there are any.
        self._lanes: dict[str, Lane] = {}
        #: The addresses of all nodes, as nodes say them.
        self._known: tuple[str, ...] = ()
        #: The client is closed: no connection will be made, and no task begun.
        self.closed = False

    async def run(self) -> None:
        """Keep a connection to any node until cancelled."""
        await self._any.run()

    async def close(self) -> None:
        """Say goodbye to every node; cancel the tasks after this."""
        self.closed = True
        async with anyio.create_task_group() as tasks:
            for lane in self._lanes.values():
                tasks.start_soon(lane.close)
            await self._any.close()

    def learn(self, addresses: list[str]) -> None:
        """These are the nodes of the cluster now; without one, nothing is known."""
        if addresses:
            self._known = tuple(addresses[:MAX_LANES])
            self._dialer.contacts.learn(addresses)

    @property
    def some(self) -> Connection | None:
        """An open connection to any node, if there is one."""
        return self._any.current or next(self.open(), None)

    def open(self) -> Iterator[Connection]:
        """The open connections, that to any node first."""
        lanes = (lane.current for lane in self._lanes.values())
        return (found for found in (self._any.current, *lanes) if found is not None)

    def others(self) -> list[str]:
        """The addresses of nodes without an open connection."""
        there = {connection.welcome.address for connection in self.open()}
        return [address for address in self._known if address not in there]

    async def any(self) -> Connection:
        """An open connection to any node; without one, what comes of the next attempt to make one.

        Raises:
            ChronosError: see `Link.connection`.
        """
        return self.some or await self._any.connection()

    def at(self, address: str) -> Connection | None:
        """The open connection to the node at `address`; None while it is being made.

        Raises:
            ChronosError: it could not be made, a moment ago.
        """
        if self.closed:
            raise client_closed()
        lane = self._lanes.get(address)
        if lane is None:
            first = self._any.current
            if first is not None and first.welcome.address == address:
                return first
            lane = self._new_lane(address)
        return lane.reach()

    async def node(self, address: str) -> Connection:
        """A connection to the node at `address`, "" for any node.

        Raises:
            ChronosError: it cannot be had now.
        """
        if not address:
            return await self.any()
        while (connection := self.at(address)) is None:
            await self.changed.wait()
        return connection

    def _new_lane(self, address: str) -> Lane:
        if len(self._lanes) >= MAX_LANES:
            raise Overloaded(f"this client has connections to {MAX_LANES} nodes already")

        async def dial() -> Connection:
            return await self._dial(address)

        if not self._lanes:
            self._tasks.start_soon(self._sweep)
        lane = self._lanes[address] = Lane(dial, self._retry, self._tasks, self.changed)
        return lane

    async def _dial(self, text: str) -> Connection:
        address = address_of(text)
        if address is None:
            raise ConnectionLost(f"a leader is said to be at {text!r}, which is no address")
        connection = await self._dialer.dial_one(address)
        found = connection.welcome.cluster_id
        if found != self._cluster_id:
            error = ConnectionLost(f"the node at {text} belongs to another cluster, {found}")
            await connection.discard(error)
            raise error
        self._met(connection)
        return connection

    async def _sweep(self) -> None:
        """Close what nobody uses any more."""
        while self._lanes:
            await anyio.sleep(IDLE_S / 2)
            for address, lane in [(a, lane) for a, lane in self._lanes.items() if lane.idle]:
                del self._lanes[address]
                await lane.close(ConnectionLost("the connection was closed: nobody used it"))

    def _met(self, connection: Connection) -> None:
        welcome = connection.welcome
        self._cluster_id = welcome.cluster_id
        self.clustered = self.clustered or bool(welcome.address)
        connection.on_leaders_changed = lambda topic: self.on_leaders_changed(topic, connection)


def _ignore(_topic: str, _connection: Connection) -> None:
    """Nobody wants to know."""

"""The client listener: accepts connections up to a limit and keeps track of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import trio

from chronosdb.node.environment import Listeners
from chronosdb.node.observe.readings import Traffic
from chronosdb.node.service.connection import Connection
from chronosdb.wire import Role, Session
from chronosdb.wire import messages as m

logger = logging.getLogger(__name__)

Stream = trio.abc.HalfCloseableStream


class Server:
    """Serves clients on listeners that are open already."""

    def __init__(self, connect: Callable[[Stream], Connection], max_connections: int) -> None:
        self._connect = connect
        self._max_connections = max_connections
        self._connections: set[Connection] = set()
        self._accepting = trio.CancelScope()

    def traffic(self) -> Traffic:
        """What clients keep busy now."""
        inflight_bytes = sum(connection.inflight_bytes for connection in self._connections)
        return Traffic(len(self._connections), inflight_bytes)

    def leaders_changed(self, topics: frozenset[str]) -> None:
        """Tell the clients that deal with these topics that other nodes lead them now."""
        for connection in self._connections:
            connection.leaders_changed(topics)

    async def run(self, listeners: Listeners) -> None:
        """Accept until `stop`; returns when the last connection has ended."""
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await trio.serve_listeners(self._serve, list(listeners), handler_nursery=nursery)

    def refuse(self) -> None:
        """Accept nobody any more."""
        self._accepting.cancel()

    def stop(self, reason: str) -> None:
        """Say goodbye to everyone."""
        self.refuse()
        for connection in self._connections:
            connection.close(reason)

    async def _serve(self, stream: Stream) -> None:
        if len(self._connections) >= self._max_connections:
            await _turn_away(stream, f"{self._max_connections} connections are open, the limit")
            return
        connection = self._connect(stream)
        self._connections.add(connection)
        try:
            await connection.run()
        except Exception:
            # One client's connection met a bug of ours. The others, and the data, are not concerned.
            logger.exception("a connection ended by an unexpected error")
        finally:
            self._connections.discard(connection)


async def _turn_away(stream: Stream, reason: str) -> None:
    logger.warning("a connection was refused: %s", reason)
    with trio.move_on_after(1):
        with suppress(trio.BrokenResourceError):
            await stream.send_all(Session(Role.SERVER).send(m.Closing(reason)))
    await trio.aclose_forcefully(stream)

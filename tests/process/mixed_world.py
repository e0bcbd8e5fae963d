"""What all tasks of a load share: the nodes, the record, what was published, and how it goes."""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final

import anyio
import trio
from anyio.abc import ByteStream, SocketAttribute

from chronosdb.client import Event, connect
from tests.proof.history import Recorder
from tests.proof.recorded import Recorded

TOPIC: Final = "mixed"
PARTITIONS: Final = 3
#: One member that stays; one member for each partition, in turn; any member takes any event.
STEADY: Final = "steady"
ORDERED: Final = "ordered"
SHARED: Final = "shared"
GROUPS: Final = (STEADY, ORDERED, SHARED)
#: Events that changers and republishers choose from.
_POOL: Final = 5000
_RECONNECT_S: Final = 0.1
#: More than a client has at one time, one to each node.
_CONNECTIONS: Final = 16


@dataclass(slots=True)
class World:
    """One run."""

    #: Where clients begin: "host:port" of a node, or of several.
    servers: Callable[[], str]
    recorder: Recorder
    seed: int
    #: The farthest that an event of the run is due in the future, but for those that never fire in it.
    horizon_ms: int
    #: Of those in `GROUPS`, the ones that have members.
    groups: tuple[str, ...] = GROUPS
    #: Publishes, deliveries, kills…
    counts: Counter[str] = field(default_factory=Counter)
    #: Published lately, answered or not.
    pool: deque[Event] = field(default_factory=lambda: deque(maxlen=_POOL))
    #: Set when nothing new is to be begun.
    finishing: trio.Event = field(default_factory=trio.Event)

    def chance(self, name: str) -> Random:
        """A task's own, so that what one does changes nothing for the others."""
        return Random(f"{self.seed}/{name}")

    @asynccontextmanager
    async def client(self, proc: str, timeout_s: float = 30.0) -> AsyncIterator[Recorded]:
        """A client of its own, connected as soon as there is a node."""
        async with self.line(proc, timeout_s) as (db, _):
            yield db

    @asynccontextmanager
    async def line(
        self, proc: str, timeout_s: float = 30.0
    ) -> AsyncIterator[tuple[Recorded, Callable[[], None]]]:
        """As `client`, with a way to cut its connections."""
        streams = deque[ByteStream](maxlen=_CONNECTIONS)

        async def dial(host: str, port: int) -> ByteStream:
            stream = await anyio.connect_tcp(host, port)
            streams.append(stream)
            return stream

        def cut() -> None:
            self.recorder.saw("fault", {"what": "cut", "on": True}, proc)
            for stream in streams:
                _abort(stream)

        await self._reachable()
        async with connect(
            self.servers(), timeout=timeout_s, client_name=proc, stream_factory=dial
        ) as client:
            yield Recorded(client, self.recorder, proc), cut

    async def _reachable(self) -> None:
        """Return when somebody listens; a client's first connection is tried once only."""
        while True:
            for server in self.servers().split(","):
                host, port = server.rsplit(":", 1)
                with suppress(OSError):
                    await (await trio.open_tcp_stream(host, int(port))).aclose()
                    return
            await trio.sleep(_RECONNECT_S)


def _abort(stream: ByteStream) -> None:
    """As if the cable were pulled: nothing more is read or written."""
    with suppress(OSError, anyio.ClosedResourceError):  # it is cut already
        stream.extra(SocketAttribute.raw_socket).shutdown(socket.SHUT_RDWR)


def now_ms() -> int:
    """This machine's clock, which is the node's too."""
    return time.time_ns() // 1_000_000

"""A real node inside the test's own process, as our own tests want it: see `chronosdb.testing.machine`.

The clients are raw ones, the order in which tasks run follows from a seed, and time passes only as a
test says; so a run can be repeated exactly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, final

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from chronosdb.client import Client, connect
from chronosdb.client.seams import Seams
from chronosdb.raft import RaftError
from chronosdb.testing.machine import DATA_DIR, Machine
from chronosdb.wal import WalError
from tests.support.raw_client import RawClient
from tests.support.seeded_trio import schedule_by

__all__ = ["DATA_DIR", "START_MS", "Broker", "broker", "topic_broker"]

#: The wall clock when trio's clock shows 0: a time in 2030.
START_MS = 1_900_000_000_000


@final
class Broker(Machine):
    """A node that tests start, stop, crash, and move through time."""

    def __init__(
        self, nursery: trio.Nursery, clock: MockClock, seed: int, settings: dict[str, Any]
    ) -> None:
        super().__init__(nursery, settings, start_ms=START_MS, seed=seed)
        self._trio_clock = clock

    async def survives(self, story: Awaitable[None]) -> bool:
        """Lets a story happen to the node; whether it outlived all of it, starts and stops included."""
        try:
            await story
        except (WalError, RaftError, OSError):
            return False
        return not self.died

    async def connect(self) -> RawClient:
        """A client that has shaken hands."""
        client = self.client()
        await client.connect()
        return client

    def library(
        self, name: str = "library", *, timeout_s: float = 10.0
    ) -> AbstractAsyncContextManager[Client]:
        """The client library, connected, with its clock and chance from here."""
        seams = Seams(
            now_ms=lambda: self.now_ms,
            random_bytes=self.random.randbytes,
            unit=self.random.random,
        )
        return connect(
            "127.0.0.1:9000",
            timeout=timeout_s,
            client_name=name,
            stream_factory=self.network.dial,
            seams=seams,
        )

    def client(self) -> RawClient:
        """A client that has not dialled yet."""
        return RawClient(self.network.connect, lambda: self.now_ms)

    def step_clock(self, ms: int) -> None:
        """Sets the wall clock forward, or back, as an operator would."""
        self.wall.offset_ms += ms

    async def advance(self, ms: float) -> None:
        """Lets time pass in one leap, and the node do what there is to do then."""
        self._trio_clock.jump(ms / 1000)
        await wait_all_tasks_blocked()

    async def wait(self, ms: float) -> None:
        """Lets time pass from one deadline to the next."""
        await trio.sleep(ms / 1000)


@asynccontextmanager
async def broker(
    clock: MockClock, *, seed: int = 0, start: bool = True, **settings: Any
) -> AsyncIterator[Broker]:
    """A running node with these settings; stopped in order at the end, which must succeed."""
    # The raw client pings nobody while its test lets time pass.
    settings.setdefault("idle_timeout_ms", 24 * 3_600_000)
    schedule_by(seed)
    async with trio.open_nursery() as nursery:
        one = Broker(nursery, clock, seed, settings)
        if start:
            await one.start()
        yield one
        await one.stop()


@asynccontextmanager
async def topic_broker(
    clock: MockClock, *, partitions: int = 1, topic: dict[str, int] | None = None, **settings: Any
) -> AsyncIterator[tuple[Broker, RawClient]]:
    """As `broker`, with a topic "t" of these settings, and a client."""
    async with broker(clock, **settings) as node:
        client = await node.connect()
        await client.create_topic("t", partitions, **(topic or {}))
        yield node, client

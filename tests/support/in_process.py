"""A real node inside the test's own process, under virtual time.

Nothing of the node is replaced but its `Environment`: the clock is derived from trio's MockClock, disk,
views and network are in memory, threads run inline, chance is seeded. So a day passes as fast as the
node has nothing to do in it, a power cut is a method call, and a run can be repeated exactly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from random import Random
from typing import Any, TypeVar, TypeVarTuple, final

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from chronosdb.client import Client, connect
from chronosdb.client.seams import Seams
from chronosdb.node.clock import Clock
from chronosdb.node.configuration.config import Config
from chronosdb.node.environment import Environment
from chronosdb.node.node import Node
from chronosdb.raft import RaftError
from chronosdb.wal import KeyValue, MemoryKV, WalError
from tests.support.memory_disk import MemoryDisk
from tests.support.network import MemoryNetwork
from tests.support.raw_client import RawClient

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: The wall clock when trio's clock shows 0: a time in 2030.
START_MS = 1_900_000_000_000
DATA_DIR = "/data"


@final
class WallClock:
    """Wall time in nanoseconds: trio's time plus what an operator has added."""

    def __init__(self) -> None:
        self.offset_ms = START_MS

    def __call__(self) -> int:
        # Whole microseconds: a float that fell a nanosecond short of a deadline would otherwise
        # show the millisecond before, wait for the rest of it, and find that too small to add.
        return self.offset_ms * 1_000_000 + round(trio.current_time() * 1e6) * 1000


@final
class InlineThreads:
    """Runs "threads" on the event loop; they take virtual time if a test says so.

    As with real ones, cancelling who waits does not stop the work. The end of the machine does.
    """

    def __init__(self) -> None:
        #: Seconds that a call takes, drawn before and once more after its work is done.
        self.delay_s: Callable[[], float] = float
        self._held: dict[str, trio.Event] = {}
        self._running: set[trio.CancelScope] = set()

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True) as scope:
            self._running.add(scope)
            try:
                held = self._held.get(getattr(function, "__name__", ""))
                if held is not None:
                    await held.wait()
                await self._pause()
                result = function(*args)
                await self._pause()
            finally:
                self._running.discard(scope)
        return result

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """While open, calls of functions of this name begin, and do nothing."""
        self._held[name] = released = trio.Event()
        try:
            yield
        finally:
            del self._held[name]
            released.set()

    def kill(self) -> None:
        """What has not happened yet never will."""
        for scope in self._running:
            scope.shield = False

    async def _pause(self) -> None:
        delay_s = self.delay_s()
        if delay_s:
            await trio.sleep(delay_s)


@final
class MemoryViews:
    """The view store. It is never synced, so a power cut may take back what was written to it."""

    def __init__(self) -> None:
        self.store = MemoryKV()
        self._when_opened: list[tuple[bytes, bytes]] = []

    def open(self, _path: str, _write_buffer_bytes: int) -> KeyValue:
        self._when_opened = list(self.store.scan())
        return self.store

    def discard(self, _path: str = "") -> None:
        """Deletes the folder."""
        self.store = MemoryKV()

    def revert(self) -> None:
        """Forgets what was written since the node opened it."""
        self.discard()
        self.store.write(self._when_opened)


@final
class _Life:
    """One process of the node, from its start to its end."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.scope = trio.CancelScope()
        self.settled = trio.Event()
        self.ended = trio.Event()
        self.errors: list[Exception] = []

    async def run(self) -> None:
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.node.run)
                    self.settled.set()
        except Exception as error:  # noqa: BLE001 - whatever ended the node, the test looks at it
            self.errors = list(_leaves(error))
        finally:
            self.settled.set()
            self.ended.set()


@final
class Broker:
    """A node that tests start, stop, crash, and move through time."""

    def __init__(
        self, nursery: trio.Nursery, clock: MockClock, seed: int, settings: dict[str, Any]
    ) -> None:
        self.disk = MemoryDisk()
        self.views = MemoryViews()
        self.network = MemoryNetwork()
        self.threads = InlineThreads()
        self.settings = settings
        self.random = Random(seed)
        self._nursery = nursery
        self._clock = clock
        self._wall = WallClock()
        self._life: _Life | None = None

    @property
    def now_ms(self) -> int:
        """What the node's wall clock shows."""
        return self._wall() // 1_000_000

    async def start(self) -> None:
        """Starts the node. Raises what it raises when it cannot."""
        assert self._life is None
        env = Environment(
            clock=Clock(self._wall),
            disk=self.disk,
            threads=self.threads,
            network=self.network,
            random=self.random,
            open_views=self.views.open,
            discard_views=self.views.discard,
        )
        life = _Life(Node(Config(data_dir=DATA_DIR, http=None, **self.settings), env))
        self._nursery.start_soon(life.run)
        await life.settled.wait()
        if life.errors:
            raise life.errors[0]
        self._life = life

    async def stop(self) -> None:
        """Stops the node as SIGTERM does. Raises what the node died of, if it did."""
        if self._life is None:
            return
        life, self._life = self._life, None
        life.node.stop()
        await life.ended.wait()
        if life.errors:
            raise life.errors[0]

    @property
    def died(self) -> bool:
        """Whether the node has ended by itself."""
        return self._life is not None and self._life.ended.is_set()

    async def survives(self, story: Awaitable[None]) -> bool:
        """Lets a story happen to the node; whether it outlived all of it, starts and stops included."""
        try:
            await story
        except (WalError, RaftError, OSError):
            return False
        return not self.died

    async def failure(self) -> list[Exception]:
        """Waits until the node has died; what it died of."""
        assert self._life is not None
        life, self._life = self._life, None
        await life.ended.wait()
        return life.errors

    async def crash(self, rng: Random | None = None) -> None:
        """Cuts the power: the node stops where it is, and all that was not synced is lost.

        With `rng`, any part of it may survive instead.
        """
        if self._life is not None:
            life, self._life = self._life, None
            self.disk.cut_power_at(1)
            life.scope.cancel()
            self.threads.kill()
            await life.ended.wait()
        self.disk.crash(rng)
        if rng is None or rng.random() < 0.5:
            self.views.revert()

    async def restart(self) -> None:
        """Stops in order, and starts again."""
        await self.stop()
        await self.start()

    async def connect(self) -> RawClient:
        """A client that has shaken hands."""
        client = self.client()
        await client.connect()
        return client

    def library(self) -> AbstractAsyncContextManager[Client]:
        """The client library, connected, with its clock and chance from here."""
        seams = Seams(
            now_ms=lambda: self.now_ms,
            random_bytes=self.random.randbytes,
            unit=self.random.random,
        )
        return connect("127.0.0.1:9000", stream_factory=self.network.dial, seams=seams)

    def client(self) -> RawClient:
        """A client that has not dialled yet."""
        return RawClient(self.network.connect, lambda: self.now_ms)

    def step_clock(self, ms: int) -> None:
        """Sets the wall clock forward, or back, as an operator would."""
        self._wall.offset_ms += ms

    async def advance(self, ms: float) -> None:
        """Lets time pass in one leap, and the node do what there is to do then."""
        self._clock.jump(ms / 1000)
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
    _schedule_by(seed)
    async with trio.open_nursery() as nursery:
        one = Broker(nursery, clock, seed, settings)
        if start:
            await one.start()
        yield one
        await one.stop()


def _schedule_by(seed: int) -> None:
    """Lets `seed` decide which of several tasks goes first, as chance does otherwise.

    Trio keeps these two names private; Hypothesis uses them for the same purpose.
    """
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio._core._run._r.seed(seed)


@asynccontextmanager
async def topic_broker(
    clock: MockClock, *, partitions: int = 1, topic: dict[str, int] | None = None, **settings: Any
) -> AsyncIterator[tuple[Broker, RawClient]]:
    """As `broker`, with a topic "t" of these settings, and a client."""
    async with broker(clock, **settings) as node:
        client = await node.connect()
        await client.create_topic("t", partitions, **(topic or {}))
        yield node, client


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error

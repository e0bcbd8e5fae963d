"""The machine a node runs on, made of memory: it is started, stopped, and loses its power.

Nothing of the node is replaced but its `Environment`: the clock is derived from trio's MockClock, disk,
views and network are in memory, threads run inline, chance is seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, final

import trio

from chronosdb.node.clock import Clock
from chronosdb.node.configuration.config import Config
from chronosdb.node.environment import Environment
from chronosdb.node.node import Node
from chronosdb.testing.chance import Random
from chronosdb.testing.clock import WallClock
from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.testing.network import MemoryNetwork
from chronosdb.testing.threads import InlineThreads
from chronosdb.wal import KeyValue, MemoryKV

DATA_DIR: Final = "/data"


@final
class MemoryViews:
    """The view store. It is never synced, so a power cut may take back what was written to it."""

    def __init__(self) -> None:
        self.store = MemoryKV()
        self._when_opened: list[tuple[bytes, bytes]] = []

    def open(self, _path: str, _write_buffer_bytes: int) -> KeyValue:
        """Opens the store."""
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
                # No `nursery.start`: a node that is stopped while it starts never says that it has.
                await self.node.run(self)
        except Exception as error:  # noqa: BLE001 - whatever ended the node, the test looks at it
            self.errors = list(_leaves(error))
        finally:
            self.settled.set()
            self.ended.set()

    def started(self, _value: object = None) -> None:
        """Implements trio's TaskStatus: the node serves."""
        self.settled.set()


class Machine:
    """A node's machine. Disk, views, chance and wall clock outlive the node's processes."""

    def __init__(
        self,
        nursery: trio.Nursery,
        settings: dict[str, Any],
        *,
        start_ms: int,
        seed: int = 0,
        make_clock: Callable[[WallClock], Clock] = Clock,
    ) -> None:
        self.disk = MemoryDisk()
        self.views = MemoryViews()
        self.network = MemoryNetwork()
        self.threads = InlineThreads()
        self.settings = settings
        self.random = Random(seed)
        self.wall = WallClock(start_ms)
        self._make_clock = make_clock
        self._nursery = nursery
        self._life: _Life | None = None

    @property
    def now_ms(self) -> int:
        """What the machine's wall clock shows."""
        return self.wall() // 1_000_000

    @property
    def running(self) -> bool:
        """Whether a node was started here, and neither stopped nor crashed since."""
        return self._life is not None

    @property
    def died(self) -> bool:
        """Whether the node has ended by itself."""
        return self._life is not None and self._life.ended.is_set()

    def environment(self) -> Environment:
        """What a process of the node finds here."""
        return Environment(
            clock=self._make_clock(self.wall),
            disk=self.disk,
            threads=self.threads,
            network=self.network,
            random=self.random,
            open_views=self.views.open,
            discard_views=self.views.discard,
        )

    async def start(self) -> None:
        """Starts the node. Raises what it raises when it cannot."""
        self.launch()
        await self.settled()

    def launch(self) -> None:
        """Starts the node and does not wait for it: one of a cluster may wait for the others."""
        assert self._life is None, "the node is running"
        config = Config(data_dir=DATA_DIR, http=None, **self.settings)
        self._life = _Life(Node(config, self.environment()))
        self._nursery.start_soon(self._life.run)

    async def settled(self) -> None:
        """Waits until the node that was launched serves. Raises what it raises when it cannot."""
        life = self._life
        assert life is not None, "there is no node"
        await life.settled.wait()
        if life.errors and self._life is life:
            self._life = None
            raise life.errors[0]

    @property
    def node(self) -> Node | None:
        """The node that runs here, or died here."""
        return None if self._life is None else self._life.node

    @property
    def serves(self) -> bool:
        """Whether the node that was launched has come so far that it serves, and lives."""
        life = self._life
        return life is not None and life.settled.is_set() and not life.ended.is_set()

    async def stop(self) -> None:
        """Stops the node as SIGTERM does. Raises what the node died of, if it did."""
        if self._life is None:
            return
        life, self._life = self._life, None
        life.node.stop()
        await life.ended.wait()
        if life.errors:
            raise life.errors[0]

    async def failure(self) -> list[Exception]:
        """Waits until the node has died; what it died of. TooSlowError: it lives on, after an hour."""
        assert self._life is not None, "there is no node"
        life = self._life
        with trio.fail_after(3600):
            await life.ended.wait()
        self._life = None
        return life.errors

    async def crash(self, rng: Random | None = None) -> None:
        """Cuts the power: the node stops where it is, and all that was not synced is lost.

        With `rng`, any part of it may survive instead.
        """
        await self.end_process()
        self.disk.crash(rng)
        if rng is None or rng.random() < 0.5:
            self.views.revert()

    async def end_process(self) -> None:
        """Ends the node where it is: from here on it reads and writes nothing more."""
        if self._life is not None:
            life, self._life = self._life, None
            self.disk.cut_power_at(1)
            life.scope.cancel()
            self.threads.kill()
            await life.ended.wait()

    async def restart(self) -> None:
        """Stops in order, and starts again."""
        await self.stop()
        await self.start()


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error

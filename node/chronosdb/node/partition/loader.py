"""The loader: fills the timing wheel from the store when it has room, in a thread beside the committer.

It comes long before the wheel is empty: with half of its share still in there. Should it be late all
the same, the wheel loads what it needs at once, and nothing is late because of it.
"""

from __future__ import annotations

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.environment import Environment
from chronosdb.node.partition.checkpointer import Checkpointer
from chronosdb.node.partition.timers import Timers


class Loader:
    """Of one partition."""

    def __init__(self, env: Environment, timers: Timers, checkpointer: Checkpointer) -> None:
        self._env = env
        self._timers = timers
        self._checkpointer = checkpointer
        self._wake = Signal()

    def changed(self) -> None:
        """Timers were taken."""
        if self._timers.has_room:
            self._wake.set()

    async def run(self) -> None:
        """Load when there is room, for ever.

        Raises:
            ViewsDamaged: the store cannot be read.
        """
        while True:
            while self._timers.has_room:
                await self._load()
            await self._wake.wait()

    async def _load(self) -> None:
        # A checkpoint would let timers that are in memory disappear into rows meanwhile.
        async with self._checkpointer.saving:
            if self._timers.has_room:
                view = self._timers.missing()
                for portion in await self._env.threads.run(self._timers.read, view):
                    self._timers.take_in(portion)
                    # A slice of millions is long work for a wheel: others go in between.
                    await trio.lowlevel.checkpoint()

"""Whose turn it is to make events of schedules: that of the node that leads the metadata.

There is exactly one such node most of the time, its view is the newest, and noting progress costs it no
detour; who leads the partitions that the events go to does not matter, for those are asked. Where two
nodes believe that it is theirs for a moment, ids make one event of each occurrence. A change of a
schedule, which withdraws events, waits until no other node can still be making them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from chronosdb.node.fanout.fanout import ANSWER_MS
from chronosdb.node.metadata import Metadata

#: A node that has lost its turn knows it, or has no lease, when this has passed …
_LEASE_S: Final = 2.0
#: … and what it had asked for by then is done, or given up.
GRACE_S: Final = _LEASE_S + ANSWER_MS / 1000
_LOOK_S: Final = 0.25


class Turn:
    """One node's turn. A node alone always has it."""

    def __init__(self, metadata: Metadata, acts: Callable[[], bool] | None = None) -> None:
        self._metadata = metadata
        self._acts = acts
        #: Since when it is this node's, by trio's clock; None: it is not.
        self._since_s: float | None = None

    @property
    def is_mine(self) -> bool:
        """Whether this node makes events now."""
        return self._acts is None or (self._since_s is not None and self._acts())

    async def follow(self, on_change: Callable[[], None]) -> None:
        """Notice when it begins and ends, and tell of each change of the metadata; runs for ever."""
        if self._acts is None:
            return
        while True:
            changed = self._metadata.changed
            if not self._acts():
                self._since_s = None
            elif self._since_s is None:
                self._since_s = trio.current_time()
            on_change()
            with trio.move_on_after(_LOOK_S):
                await changed.wait()

    async def up_to_date(self) -> None:
        """Return when this node knows all that was committed; raises ChronosError if it cannot."""
        if self._acts is not None:
            await self._metadata.read()

    async def unrivalled(self) -> None:
        """Return when no other node can be making events any more."""
        if self._acts is not None and self._since_s is not None:
            await trio.sleep_until(self._since_s + GRACE_S)

"""Wall time made of trio's virtual time, and a clock that knows what the node waits for."""

from __future__ import annotations

from typing import final

import trio

from chronosdb.node.clock import Clock, Signal


@final
class WallClock:
    """Wall time in nanoseconds: trio's time plus what an operator has added."""

    def __init__(self, offset_ms: int) -> None:
        #: What the wall clock shows when trio's clock shows 0.
        self.offset_ms = offset_ms

    def __call__(self) -> int:
        """Nanoseconds since the epoch."""
        # Whole microseconds: a float that fell a nanosecond short of a deadline would otherwise
        # show the millisecond before, wait for the rest of it, and find that too small to add.
        return self.offset_ms * 1_000_000 + round(trio.current_time() * 1e6) * 1000


@final
class LeapingClock(Clock):
    """A clock whose owner moves it, and says so with `wake`: nobody has to look for steps."""

    def __init__(self, wall_ns: WallClock) -> None:
        super().__init__(wall_ns)
        #: Until when each waiter waits. Invariant: has every wait of the node for a wall-clock time.
        self._until_ms: dict[Signal, int] = {}

    async def wait(self, signal: Signal, until_ms: int | None) -> None:
        """See `Clock.wait`."""
        if until_ms is None:
            await signal.wait()
            return
        self._until_ms[signal] = until_ms
        try:
            await super().wait(signal, until_ms)
        finally:
            del self._until_ms[signal]

    async def watch_steps(self) -> None:
        """Leave it to `wake`: two looks a second would be sixty million in a year."""
        await trio.sleep_forever()

    def next_ms(self) -> int | None:
        """The first moment in the future that anything in the node waits for."""
        now_ms = self.now_ms()
        return min((ms for ms in self._until_ms.values() if ms > now_ms), default=None)

    def wake(self) -> None:
        """Let every waiter look at the clock again."""
        for signal in tuple(self._until_ms):
            signal.set()

"""The wall clock, and the only way to wait for a wall-clock time.

Firing is decided by the wall clock alone (never early: I3); waiting is done on the monotonic clock,
which no operator and no NTP step can bend. When the two drift apart (a step, a suspended host) every
sleeper is woken to look at the wall clock again, so a step forward fires at once and a step back
merely waits longer (I17).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import trio

_CHECK_EVERY_S: Final = 0.5
_STEP_NS: Final = 5_000_000


class Signal:
    """A flag that one task waits on and any code may raise; raising twice is raising once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    @property
    def raised(self) -> bool:
        """Whether the next wait returns at once."""
        return self._event.is_set()

    def set(self) -> None:
        """Wake the waiter, or make its next wait return at once."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until raised, then lower the flag."""
        await self._event.wait()
        self._event = trio.Event()


class Clock:
    """Wall time from `wall_ns`, a source of nanoseconds since the epoch.

    The real one is `time.time_ns`; a simulation derives it from trio's clock, plus drift and steps.
    """

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._wall_ns = wall_ns
        #: Signals of the tasks waiting now. Invariant: every waiter with a deadline is in here.
        self._waiting: set[Signal] = set()

    def now_ms(self) -> int:
        """Milliseconds since the epoch, rounded down: a time shown here has truly come."""
        return self._wall_ns() // 1_000_000

    async def wait(self, signal: Signal, until_ms: int | None) -> None:
        """Return when `signal` is raised or the wall clock reads `until_ms`, or earlier after a step.

        The caller looks at `now_ms()` afterwards; coming back early is allowed, late is not.
        """
        if until_ms is None or signal.raised:
            await signal.wait()
            return
        left_s = (until_ms * 1_000_000 - self._wall_ns()) / 1e9
        self._waiting.add(signal)
        try:
            with trio.move_on_after(max(0.0, left_s)):
                await signal.wait()
        finally:
            self._waiting.discard(signal)

    async def watch_steps(self) -> None:
        """Wake every waiter when the wall clock has moved against the monotonic one. Runs for ever."""
        offset = self._offset_ns()
        while True:
            await trio.sleep(_CHECK_EVERY_S)
            if abs(self._offset_ns() - offset) > _STEP_NS:
                offset = self._offset_ns()
                for signal in tuple(self._waiting):
                    signal.set()

    def _offset_ns(self) -> int:
        return self._wall_ns() - int(trio.current_time() * 1e9)

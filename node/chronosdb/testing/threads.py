"""Worker threads that are none: blocking work runs on the event loop, in an order that repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple, final

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


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
        """See `Threads.run`."""
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

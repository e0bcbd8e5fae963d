"""One round for all who wait: a costly step that many need, each after it asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from chronosdb.wire.errors import ChronosError


class _Round:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.passed = False
        self.error: ChronosError | None = None


class Barriers:
    """Runs `step` for everyone who calls `pass_one`; rounds do not overlap.

    Whoever comes while one is under way waits for the next: that one began after it came.
    """

    def __init__(self, step: Callable[[], Awaitable[object]]) -> None:
        self._step = step
        #: The round that has not begun yet.
        self._next: _Round | None = None
        self._running = trio.Lock()

    async def pass_one(self) -> None:
        """Return when a step has succeeded that began after this call.

        Raises:
            ChronosError: it failed.
        """
        while True:
            mine = self._next
            if mine is None:
                self._next = mine = _Round()
                await self._run(mine)
            else:
                await mine.done.wait()
            if mine.passed:
                return
            if mine.error is not None:
                raise type(mine.error)(mine.error.message)
            # Whoever ran it was cancelled: the next one runs another.

    async def _run(self, mine: _Round) -> None:
        try:
            async with self._running:
                self._next = None
                await self._step()
                mine.passed = True
        except ChronosError as error:
            mine.error = error
        finally:
            if self._next is mine:
                self._next = None
            mine.done.set()

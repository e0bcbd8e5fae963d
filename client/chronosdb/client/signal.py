"""Something that happens again and again."""

from __future__ import annotations

import anyio


class Signal:
    """Wakes all who wait, each time it fires. What fired before one began to wait is not heard."""

    def __init__(self) -> None:
        self._next = anyio.Event()

    def fire(self) -> None:
        """Wake all who wait."""
        self._next.set()
        self._next = anyio.Event()

    async def wait(self) -> None:
        """Return the next time it fires."""
        await self._next.wait()

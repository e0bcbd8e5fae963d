"""A value that one side will have later and the other waits for."""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Reply(Generic[T]):
    """Set once, awaited once. `set` may be called from any code on the loop, also before `get`."""

    def __init__(self) -> None:
        self._values: list[T] = []
        self._ready = trio.Event()

    def set(self, value: T) -> None:
        """Hand over the value."""
        assert not self._values
        self._values.append(value)
        self._ready.set()

    async def get(self) -> T:
        """The value, when it is there."""
        await self._ready.wait()
        return self._values[0]

"""A value that one side will have later and the other waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from chronosdb.wire.errors import ChronosError

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


async def told(ask: Callable[[Callable[[T | ChronosError], None]], None]) -> T:
    """What `ask` will tell the function that it is given; raises the ChronosError that it is."""
    reply = Reply[T | ChronosError]()
    ask(reply.set)
    outcome = await reply.get()
    if isinstance(outcome, ChronosError):
        raise outcome
    return outcome

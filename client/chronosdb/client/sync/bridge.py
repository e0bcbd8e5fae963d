"""From a thread to the event loop and back: calls, context managers, and streams of items."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from typing import Final, TypeVar

import anyio
from anyio.from_thread import BlockingPortal
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

T = TypeVar("T")

#: Items read ahead of the loop that consumes them.
_AHEAD: Final = 256


class Bridge:
    """Runs things on the client's event loop for callers in other threads."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """The result of `await function()` over there; raises what it raises."""
        return self._portal.call(function)

    def enter(self, manager: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        """`async with manager` over there as a `with` here."""
        return self._portal.wrap_async_context_manager(manager)

    def iterate(self, items: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """`async for` over there as a `for` here; leaving the loop early ends it over there too.

        One task over there walks the iterator from first to last, as its scopes demand.
        """
        send, receive = anyio.create_memory_object_stream[T](_AHEAD)
        # Between two `yield`s of a generator nobody else uses these streams.
        pump = self._portal.start_task_soon(_pump, items, send)
        try:
            while ready := self._portal.call(_take, receive):
                yield from ready
        finally:
            self._portal.call(receive.aclose)
            pump.cancel()
        pump.result()


async def _pump(items: Callable[[], AsyncIterator[T]], send: MemoryObjectSendStream[T]) -> None:
    async with send:
        walk = items()
        async with aclosing(walk):  # type: ignore[type-var]
            async for item in walk:
                await send.send(item)


async def _take(receive: MemoryObjectReceiveStream[T]) -> list[T]:
    """All that is ready, one item at least; nothing after the last."""
    try:
        ready = [await receive.receive()]
    except anyio.EndOfStream:
        return []
    while receive.statistics().current_buffer_used:
        ready.append(receive.receive_nowait())
    return ready

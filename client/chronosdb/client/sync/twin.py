"""Methods without `await`, made from those with it: same parameters, same docstring, same errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial, wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

from chronosdb.client.sync.bridge import Bridge

C = TypeVar("C")
P = ParamSpec("P")
T = TypeVar("T")


class Twin(Generic[C]):
    """An object of the async client, as other threads use it."""

    def __init__(self, bridge: Bridge, twin: C) -> None:
        self._bridge = bridge
        self._twin = twin


def blocking(
    method: Callable[Concatenate[C, P], Awaitable[T]],
) -> Callable[Concatenate[Twin[C], P], T]:
    """An `async def` as a method that blocks its caller until it is done."""

    @wraps(method)
    def call(self: Twin[C], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._bridge.call(partial(method, self._twin, *args, **kwargs))

    return call


def streaming(
    method: Callable[Concatenate[C, P], AsyncIterator[T]],
) -> Callable[Concatenate[Twin[C], P], Iterator[T]]:
    """What is iterated with `async for` as what is iterated with `for`."""

    @wraps(method)
    def iterate(self: Twin[C], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._bridge.iterate(partial(method, self._twin, *args, **kwargs))

    return iterate

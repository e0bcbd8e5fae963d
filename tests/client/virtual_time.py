"""Runs a test on trio and on asyncio, both with a clock that jumps over every wait."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from inspect import Parameter, Signature, signature
from typing import Any, cast

import anyio
import pytest
from trio.testing import MockClock

Test = Callable[..., Awaitable[None]]


def both_backends(test: Test) -> Callable[..., None]:
    """A synchronous test that runs `test` once per backend; a minute of waiting takes no time."""

    def run(backend: str, **arguments: object) -> None:
        call = partial(test, **arguments)
        anyio.run(call, backend=backend, backend_options=_OPTIONS[backend]())

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    backend = Parameter("backend", Parameter.KEYWORD_ONLY)
    parameters = [*signature(test).parameters.values(), backend]
    # What pytest reads to know the test's parameters.
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return cast("Callable[..., None]", pytest.mark.parametrize("backend", list(_OPTIONS))(run))


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer it moves the clock there. Nothing here ever waits for a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "every task waits and no timer is set: a deadlock"
            self.now_s += timeout
        return ready


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


_OPTIONS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "trio": lambda: {"clock": MockClock(autojump_threshold=0)},
    "asyncio": lambda: {"loop_factory": _JumpingLoop},
}

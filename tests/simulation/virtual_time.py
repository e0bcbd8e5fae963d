"""Tests of the simulation's parts run in virtual time, as the simulation itself does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

import trio

from tests.simulation.leaping_clock import LeapingClock


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async test under a clock that leaps over every wait."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        trio.run(partial(test, **fixtures), clock=LeapingClock())

    return run

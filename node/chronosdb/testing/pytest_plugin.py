"""The fixture `chronos_broker`, and the virtual clock under which its tests run.

Loaded into every run of pytest where ChronosDB is installed, so it imports nothing of it until used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from trio.testing import MockClock

if TYPE_CHECKING:
    from chronosdb.testing.broker import Broker

FIXTURE: Final = "chronos_broker"


def run_in_virtual_time(
    test: Callable[..., Awaitable[Any]], *, clock: trio.abc.Clock | None = None, **options: Any
) -> object:
    """`trio.run` for pytest-trio: unless the test brings a clock, one that leaps over every wait."""
    return trio.run(test, clock=clock or MockClock(autojump_threshold=0), **options)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Marks the tests that use the fixture as trio tests in virtual time."""
    for item in items:
        if FIXTURE in getattr(item, "fixturenames", ()):
            # In front: pytest-trio takes the first of its marks that names a `run`.
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)


@pytest.fixture
async def chronos_broker() -> AsyncIterator[Broker]:
    """A running broker of its own for each test, in virtual time. Needs pytest-trio."""
    from chronosdb.testing.broker import Broker  # noqa: PLC0415 - see the docstring of this file

    async with Broker() as broker:
        yield broker

"""What the tests of the node share."""

from __future__ import annotations

import pytest
import trio

from chronosdb.node.clock import Clock


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sets the wall clock: without a look at it twice a second, months pass quickly."""

    async def sleep(_clock: Clock) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(Clock, "watch_steps", sleep)

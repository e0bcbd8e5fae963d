"""What all tests share."""

from __future__ import annotations

import pytest
from trio.testing import MockClock


@pytest.fixture
def clock() -> MockClock:
    """Trio's clock for the test that takes it: leaps to the next deadline when all tasks wait."""
    return MockClock(autojump_threshold=0)

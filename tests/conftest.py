"""What all tests share."""

from __future__ import annotations

import signal

import pytest
from trio.testing import MockClock


def pytest_configure() -> None:
    """Let SIGINT mean what it means at a terminal, also where a CI runner has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clock() -> MockClock:
    """Trio's clock for the test that takes it: leaps to the next deadline when all tasks wait."""
    return MockClock(autojump_threshold=0)

"""What all tests share."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings
from trio.testing import MockClock


def pytest_configure() -> None:
    """No example fails for taking long on a busy machine, and SIGINT means what it means at a terminal,
    also where a CI runner has it ignored.
    """
    settings.register_profile("busy machine", deadline=None)
    settings.load_profile("busy machine")
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clock() -> MockClock:
    """Trio's clock for the test that takes it: leaps to the next deadline when all tasks wait."""
    return MockClock(autojump_threshold=0)

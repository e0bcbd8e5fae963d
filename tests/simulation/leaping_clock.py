"""A clock that leaps to the next deadline as soon as nobody has anything to do.

What trio's MockClock does with `autojump_threshold=0`, in half as many turns of trio's loop: that one waits a
turn to see whether anything comes from outside, and here nothing does. Not for `wait_all_tasks_blocked`.
"""

from __future__ import annotations

from math import inf
from typing import Final, final

import trio

_LONG_S: Final = 3600.0


@final
class LeapingClock(trio.abc.Clock):
    """Virtual time, in seconds from 0."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def start_clock(self) -> None:
        """See `trio.abc.Clock`."""

    def current_time(self) -> float:
        """See `trio.abc.Clock`."""
        return self._now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Asked when no task can run, until when they all wait: then it is that late."""
        if deadline == inf:
            return _LONG_S  # trio itself, as it begins and ends
        self._now_s = max(self._now_s, deadline)
        return 0

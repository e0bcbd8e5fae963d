"""A wall clock that runs too fast or too slow, and that somebody sets."""

from __future__ import annotations

from typing import final

from tests.simulation.leaping_clock import LeapingClock
from tests.simulation.trace import Trace


@final
class DriftingWall:
    """Wall time in nanoseconds, made of the virtual monotonic time. Can be read from any thread."""

    def __init__(self, clock: LeapingClock, trace: Trace, name: str, start_ms: int) -> None:
        self._clock = clock
        self._trace = trace
        self._name = name
        #: What it showed when it was last set, and the monotonic time then.
        self._anchor_ns = start_ms * 1_000_000
        self._anchored_ns = self._monotonic_ns()
        self._drift_ppm = 0

    def __call__(self) -> int:
        """Nanoseconds since the epoch."""
        elapsed_ns = self._monotonic_ns() - self._anchored_ns
        now_ns = self._anchor_ns + elapsed_ns * (1_000_000 + self._drift_ppm) // 1_000_000
        self._trace.note("wall", self._name, now_ns)
        return now_ns

    def set(self, *, step_ms: int = 0, drift_ppm: int = 0) -> None:
        """Steps it, and lets it gain so many microseconds a second from now on (negative: lose)."""
        self._anchor_ns = self() + step_ms * 1_000_000
        self._anchored_ns = self._monotonic_ns()
        self._drift_ppm = drift_ppm

    def _monotonic_ns(self) -> int:
        return round(self._clock.current_time() * 1e9)

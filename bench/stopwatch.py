"""Time that passed, and time that a processor worked: the second holds still on a busy machine."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spent:
    """What some work of this process took."""

    wall_s: float
    cpu_s: float


class Stopwatch:
    """Runs from its creation."""

    def __init__(self) -> None:
        self._wall_s = time.perf_counter()
        self._cpu_s = time.process_time()

    def spent(self) -> Spent:
        """Until now; of all threads of this process."""
        return Spent(time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s)

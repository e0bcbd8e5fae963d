"""When a failed delivery is tried again, and when it no longer is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from chronosdb.sched.errors import PolicyError

ATTEMPTS_MAX: Final = 1_000_000
DURATION_MAX_MS: Final = 366 * 24 * 3_600_000
MULTIPLIER_MAX: Final = 100.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a group treats deliveries that fail: exponential backoff with jitter.

    Attempt n waits `backoff_ms * multiplier ** (n - 1)`, at most `backoff_max_ms`, less a random
    part of up to `jitter`: jitter only shortens, so that it also spreads those at the maximum.

    Raises:
        PolicyError: a setting is out of bounds; the message names it.
    """

    #: Deliveries after which a failing event is given up and goes to the dead-letter topic.
    max_attempts: int = 5
    #: How long a member may hold an event without acking or extending.
    ack_timeout_ms: int = 30_000
    #: The wait after the first failure.
    backoff_ms: int = 1_000
    #: The longest wait.
    backoff_max_ms: int = 60_000
    #: How much longer each wait is than the one before.
    multiplier: float = 2.0
    #: The largest fraction by which chance shortens a wait, 0 to 1.
    jitter: float = 0.2

    def __post_init__(self) -> None:
        _check("max_attempts", self.max_attempts, 1, ATTEMPTS_MAX)
        _check("ack_timeout_ms", self.ack_timeout_ms, 1, DURATION_MAX_MS)
        _check("backoff_max_ms", self.backoff_max_ms, 0, DURATION_MAX_MS)
        _check("backoff_ms", self.backoff_ms, 0, self.backoff_max_ms)
        _check("multiplier", self.multiplier, 1, MULTIPLIER_MAX)
        _check("jitter", self.jitter, 0, 1)

    def exhausted(self, attempt: int) -> bool:
        """Whether no attempt follows this one if it fails."""
        return attempt >= self.max_attempts

    def delay_ms(self, failed_attempt: int, unit: float) -> int:
        """How long to wait after attempt `failed_attempt` (the first is 1) failed.

        Args:
            failed_attempt: the number of the attempt.
            unit: the caller's random number, in [0, 1).
        """
        assert failed_attempt >= 1
        assert 0 <= unit < 1
        return round(self._full_delay_ms(failed_attempt) * (1 - self.jitter * unit))

    def _full_delay_ms(self, failed_attempt: int) -> float:
        if self.backoff_ms == 0:
            return 0
        # Compared as logarithms, because the power itself may not fit a float.
        steps = min(failed_attempt - 1, ATTEMPTS_MAX)
        if steps * math.log(self.multiplier) >= math.log(self.backoff_max_ms / self.backoff_ms):
            return self.backoff_max_ms
        return self.backoff_ms * self.multiplier**steps


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also refuses NaN
        raise PolicyError(f"{name} is {value}: it must be from {least} to {most}")

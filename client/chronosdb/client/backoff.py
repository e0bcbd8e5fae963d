"""How long to wait before the next attempt: exponential, capped, with jitter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits of `first_s`, then `multiplier` times more each, at most `cap_s`.

    Each is shortened by a random share of up to one half, so that clients who failed together do
    not return together.
    """

    first_s: float = 0.05
    cap_s: float = 2.0
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        assert 0 < self.first_s <= self.cap_s, "waits must be positive and within the cap"
        assert self.multiplier >= 1, "waits must not shrink"

    def delays_s(self, unit: Callable[[], float]) -> Iterator[float]:
        """The waits in seconds, without end. `unit` gives floats in [0, 1)."""
        whole = self.first_s
        while True:
            yield whole * (1 - unit() / 2)
            whole = min(self.cap_s, whole * self.multiplier)

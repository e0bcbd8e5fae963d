"""Chance as peers need it: nonces, births, jitter. The Environment has it."""

from __future__ import annotations

from typing import Protocol


class Chance(Protocol):
    """What of `random.Random` is used."""

    def random(self) -> float:
        """A number from 0.0 up to, not including, 1.0."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """`k` bits."""
        ...

    def randbytes(self, n: int) -> bytes:
        """`n` bytes; fit for a secret, but under test."""
        ...

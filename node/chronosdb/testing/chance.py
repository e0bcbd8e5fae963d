"""The seeded chance of a test's world: the one file here that may name `random`."""

from __future__ import annotations

from random import Random

__all__ = ["Random"]

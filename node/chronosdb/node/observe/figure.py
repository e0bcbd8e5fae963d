"""One metric as it is now, for whoever writes the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A gauge, or with `counts` a counter, of one or several values."""

    name: str
    text: str
    labels: Sequence[str] = ()
    #: A value for each combination of labels; there are only so many.
    samples: Sequence[tuple[Sequence[str], float]] = ()
    counts: bool = False


def figure(name: str, text: str, value: float, *, counts: bool = False) -> Figure:
    """One without labels."""
    return Figure(name, text, samples=(((), value),), counts=counts)

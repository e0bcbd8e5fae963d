"""Storing many events: in slices, so that the limit on one client's work is no limit on the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from bench.lab import Lab
from bench.load import Load
from bench.publishing import publish
from bench.stopwatch import Spent

SLICE: Final = 500_000


def slices(load: Load, size: int = SLICE) -> Iterator[Load]:
    """The same events, in loads of at most `size`."""
    for start in range(0, load.count, size):
        yield replace(load, first=load.first + start, count=min(size, load.count - start))


def fill(lab: Lab, address: str, load: Load) -> Spent:
    """Publish all of `load`, slice by slice; what that took the clients."""
    spent = [lab.run(publish, address, one) for one in slices(load)]
    return Spent(sum(one.wall_s for one in spent), sum(one.cpu_s for one in spent))

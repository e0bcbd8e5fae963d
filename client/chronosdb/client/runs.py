"""Sets of positions as runs: pairs (first position, position after the last)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TypeAlias

Run: TypeAlias = tuple[int, int]


def runs_of(positions: Sequence[int]) -> list[Run]:
    """The runs that cover `positions`, which may come in any order."""
    if not positions:
        return []
    first = positions[0]
    if positions == list(range(first, first + len(positions))):
        return [(first, first + len(positions))]  # the usual delivery, without a Python loop
    return merged((position, position + 1) for position in positions)


def merged(runs: Iterable[Run]) -> list[Run]:
    """`runs` in order, overlapping and adjacent ones joined."""
    result: list[Run] = []
    for start, stop in sorted(runs):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        else:
            result.append((start, stop))
    return result


def encode_runs(runs: Iterable[Run]) -> memoryview:
    """The column of an Ack message: i64 pairs, little-endian."""
    return memoryview(array("q", chain.from_iterable(runs)).tobytes())

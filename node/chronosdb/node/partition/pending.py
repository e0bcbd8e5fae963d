"""The pending events of a partition as rows: listed in pages, counted, cancelled in bulk.

A page is what is true when it is read; the next continues behind its last row. Between pages events
may be published, fire or be cancelled: no row is shown twice, and one that stays pending throughout is
shown once. Work is done in steps, so that a range of millions does not hold up the node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import trio

from chronosdb.node.partition.due import Due, joined
from chronosdb.node.partition.partition import Partition

#: Candidates whose keys are compared between two breaths.
_STEP: Final = 4096


@dataclass(frozen=True, slots=True)
class Range:
    """Which pending events: due in [start_ms, end_ms), and with this key if one is given."""

    start_ms: int
    end_ms: int
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows in (schedule_ts, offset) order, and where the next page begins (None: no more)."""

    rows: Due
    next: tuple[int, int] | None


async def page(
    partition: Partition, wanted: Range, after: tuple[int, int] | None, limit: int
) -> Page:
    """At most `limit` rows behind `after` = (schedule_ts, offset).

    Raises:
        DamagedRecord: an event's bytes on disk are not what was written.
    """
    start_ms = wanted.start_ms if after is None else max(wanted.start_ms, after[0])
    found: list[Due] = []
    missing = limit + 1
    for due in _steps(partition, Range(start_ms, wanted.end_ms, wanted.key)):
        rows = due if after is None else _behind(due, after)
        found.append(Due(rows.due_ms[:missing], rows.offsets[:missing]))
        missing -= found[-1].size
        if missing <= 0:
            break
        await trio.lowlevel.checkpoint()
    rows = joined(found)
    if rows.size <= limit:
        return Page(rows, None)
    rows = Due(rows.due_ms[:limit], rows.offsets[:limit])
    return Page(rows, (int(rows.due_ms[-1]), int(rows.offsets[-1])))


async def count(partition: Partition, wanted: Range) -> int:
    """How many pending events there are in a range."""
    total = 0
    for due in _steps(partition, wanted):
        total += due.size
        await trio.lowlevel.checkpoint()
    return total


def _steps(partition: Partition, wanted: Range) -> Iterator[Due]:
    """The rows of a range, some at a time, in order."""
    for due in partition.state.timers.between(wanted.start_ms, wanted.end_ms):
        if wanted.key is None:
            yield due
        else:
            for part in _parts(due):
                yield part.where(_with_key(partition, part, wanted.key))


def _parts(due: Due) -> Iterator[Due]:
    for start in range(0, due.size, _STEP):
        span = slice(start, start + _STEP)
        yield Due(due.due_ms[span], due.offsets[span])


def _with_key(
    partition: Partition, due: Due, key: bytes
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of these events have `key`."""
    mask = np.zeros(due.size, dtype=np.bool_)
    # In offset order, so that each record is read once.
    for i in np.argsort(due.offsets).tolist():
        offset = int(due.offsets[i])
        stored = partition.reader.stored(offset)
        mask[i] = stored.batch.key(offset - stored.start) == key
    return mask


def _behind(due: Due, after: tuple[int, int]) -> Due:
    at, offset = after
    return due.where((due.due_ms > at) | ((due.due_ms == at) & (due.offsets > offset)))

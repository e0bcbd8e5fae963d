"""From local times to instants, through the hours that a clock change skips or repeats.

A local time names one instant, except twice a year: in the *gap*, when clocks go forward, it names
none; in the *fold*, when they go back, it names two. What then happens is a policy. Instants are
integer milliseconds since the epoch; offsets are what a zone adds to UTC.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final, Literal
from zoneinfo import ZoneInfo

#: "skip": a time in the gap does not happen. "shift": it happens later by the length of the gap, so
#: that half past two becomes half past three.
Gap = Literal["skip", "shift"]
#: Which of its two instants a time in the fold means.
Fold = Literal["first", "last", "both"]

_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - local times have no zone here
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_DAY: Final = dt.timedelta(days=1)


def instants(
    local_times: Iterable[dt.datetime], zone: ZoneInfo, gap: Gap, fold: Fold
) -> Iterator[int]:
    """The instants of ascending local times: ascending, each once."""
    return (instant for instant, _ in groupby(_ordered(local_times, zone, gap, fold)))


def earliest_local(instant_ms: int, zone: ZoneInfo) -> dt.datetime:
    """No local time before this one names an instant after `instant_ms`, under any policy.

    Of two offsets within a day the smaller one counts: no clock change is longer than a day, and no
    two are within one.
    """
    utc = _EPOCH + dt.timedelta(seconds=instant_ms // 1000)
    return utc + min(_offset(utc + days * _DAY, zone) for days in (-1, 0, 1))


def _ordered(
    local_times: Iterable[dt.datetime], zone: ZoneInfo, gap: Gap, fold: Fold
) -> Iterator[int]:
    # Around a clock change the order of local times is not that of their instants: an instant waits
    # until no later local time can come before it.
    waiting: list[int] = []
    for local in local_times:
        # PEP 495: fold=0 reads a local time by the offset before a change, fold=1 by the one after.
        before, after = _utc_ms(local, zone, fold=0), _utc_ms(local, zone, fold=1)
        while waiting and waiting[0] < min(before, after):
            yield heapq.heappop(waiting)
        for instant in _chosen(before, after, gap, fold):
            heapq.heappush(waiting, instant)
    yield from sorted(waiting)


def _chosen(before: int, after: int, gap: Gap, fold: Fold) -> tuple[int, ...]:
    if before == after:
        return (before,)
    if (
        before > after
    ):  # the gap: by the old offset it lies behind the change, by the new one before
        return (before,) if gap == "shift" else ()
    return {"first": (before,), "last": (after,), "both": (before, after)}[fold]


def _utc_ms(local: dt.datetime, zone: ZoneInfo, *, fold: int) -> int:
    offset = local.replace(tzinfo=zone, fold=fold).utcoffset()
    assert offset is not None
    return (local - offset - _EPOCH) // _MILLISECOND


def _offset(utc: dt.datetime, zone: ZoneInfo) -> dt.timedelta:
    offset = utc.replace(tzinfo=dt.UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return offset

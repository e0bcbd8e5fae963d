"""When a cron expression occurs, found the slow way: by looking at a wall clock every minute.

Nothing of `chronosdb.sched` is used, and no step is clever: every minute of UTC is turned into the
zone's local time, the fields are compared, and the minutes that no wall clock showed are the gaps.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from zoneinfo import ZoneInfo

MINUTE = dt.timedelta(minutes=1)


@dataclass(frozen=True)
class Times:
    """Which local minutes match: `None` is `*`. Weekdays as in cron, Sunday is 0."""

    minutes: frozenset[int]
    hours: frozenset[int] | None = None
    days: frozenset[int] | None = None
    weekdays: frozenset[int] | None = None

    @property
    def cron(self) -> str:
        fields = (self.minutes, self.hours, self.days, None, self.weekdays)
        return " ".join("*" if f is None else ",".join(map(str, sorted(f))) for f in fields)

    def match(self, wall: dt.datetime) -> bool:
        day = self.days is None or wall.day in self.days
        weekday = self.weekdays is None or (wall.weekday() + 1) % 7 in self.weekdays
        both = self.days is not None and self.weekdays is not None
        return (
            wall.minute in self.minutes
            and (self.hours is None or wall.hour in self.hours)
            and ((day or weekday) if both else (day and weekday))
        )


class WallClock:
    """What a wall clock in a zone showed in each minute of [start, stop), which is in UTC."""

    def __init__(self, zone: ZoneInfo, start: dt.datetime, stop: dt.datetime) -> None:
        self.shown: defaultdict[dt.datetime, list[int]] = defaultdict(list)
        instant = start
        while instant < stop:
            wall = instant.astimezone(zone).replace(tzinfo=None, fold=0)
            self.shown[wall].append(round(instant.timestamp() * 1000))
            instant += MINUTE
        self.gaps = self._gaps()

    def occurrences(self, times: Times, gap: str, fold: str) -> list[int]:
        """In order, each once."""
        found: set[int] = set()
        for wall, instants in self.shown.items():
            if times.match(wall):
                chosen = {"first": instants[:1], "last": instants[-1:], "both": instants}[fold]
                found.update(chosen)
        if gap == "shift":
            found.update(instant for wall, instant in self.gaps.items() if times.match(wall))
        return sorted(found)

    def _gaps(self) -> dict[dt.datetime, int]:
        """The minutes never shown, and when each would have been, had the gap come before it."""
        missing: dict[dt.datetime, int] = {}
        walls = sorted(self.shown)
        for before, after in pairwise(walls):
            length = after - before - MINUTE
            for n in range(length // MINUTE):
                wall = before + (n + 1) * MINUTE
                missing[wall] = self.shown[wall + length][0]
        return missing

"""When something happens again and again: by a cron expression in a time zone, or at an interval.

An *occurrence* is a moment of the rule, in integer milliseconds since the epoch. The same rule gives
the same occurrences wherever and whenever it is asked, as long as the time zone data are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Final, get_args

from chronosdb.sched.cron import CronPattern
from chronosdb.sched.errors import RecurrenceError
from chronosdb.sched.local_time import Fold, Gap, earliest_local, instants
from chronosdb.sched.zones import zone

#: Nothing recurs more often than this.
EVERY_MIN_MS: Final = 1_000
EVERY_MAX_MS: Final = 100 * 366 * 86_400_000
JITTER_MAX_MS: Final = 3_600_000
#: The first day of the year 9999: calendars end soon after.
TIME_MAX_MS: Final = 253_370_764_800_000


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A rule: exactly one of `cron` and `every_ms`, from `start_ms` on and before `end_ms`.

    An interval's occurrences are `start_ms`, `start_ms + every_ms`, …: elapsed time, which no clock
    change touches. Zone, gap and fold are for cron.

    Raises:
        RecurrenceError: what is given makes no rule; the message says why.
    """

    start_ms: int
    cron: str | None = None
    every_ms: int | None = None
    tz: str = "UTC"
    gap: Gap = "skip"
    fold: Fold = "first"
    end_ms: int | None = None
    jitter_ms: int = 0

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.every_ms is None):
            raise RecurrenceError("a schedule needs a cron expression or an interval, and not both")
        if self.cron is not None:
            CronPattern(self.cron)
        zone(self.tz)
        _check_word("gap", self.gap, get_args(Gap))
        _check_word("fold", self.fold, get_args(Fold))
        _check_number("start", self.start_ms, 0, TIME_MAX_MS)
        _check_number("end", self.end_ms, self.start_ms, TIME_MAX_MS)
        _check_number("every", self.every_ms, EVERY_MIN_MS, EVERY_MAX_MS)
        _check_number("jitter", self.jitter_ms, 0, JITTER_MAX_MS)

    def after(self, after_ms: int) -> Iterator[int]:
        """The occurrences later than `after_ms`, in order, each once; possibly without end."""
        end_ms = TIME_MAX_MS if self.end_ms is None else self.end_ms
        from_ms = max(after_ms, self.start_ms - 1)
        if from_ms >= end_ms:
            return iter(())
        found = self._by_interval(from_ms) if self.cron is None else self._by_cron(from_ms)
        return takewhile(lambda occurrence: occurrence < end_ms, found)

    def due_ms(self, name: str, occurrence: int) -> int:
        """When `occurrence` of the schedule `name` is due: later by its jitter, which never changes."""
        if not self.jitter_ms:
            return occurrence
        seed = hashlib.blake2b(f"{name}/{occurrence}".encode(), digest_size=8).digest()
        return occurrence + int.from_bytes(seed, "little") % (self.jitter_ms + 1)

    def _by_interval(self, after_ms: int) -> Iterator[int]:
        assert self.every_ms is not None
        passed = (after_ms - self.start_ms) // self.every_ms + 1
        return count(self.start_ms + passed * self.every_ms, self.every_ms)

    def _by_cron(self, after_ms: int) -> Iterator[int]:
        assert self.cron is not None
        where = zone(self.tz)
        local_times = CronPattern(self.cron).matches(earliest_local(after_ms, where))
        found = instants(local_times, where, self.gap, self.fold)
        return (occurrence for occurrence in found if occurrence > after_ms)


def _check_word(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise RecurrenceError(f"{name} is {value[:64]!r}: it must be one of {', '.join(known)}")


def _check_number(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise RecurrenceError(f"{name} is {value} ms: it must be from {least} to {most}")

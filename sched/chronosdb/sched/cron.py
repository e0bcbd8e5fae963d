"""Cron expressions as local times: the only import of cronsim, which parses and steps.

It is given local times without a zone: what a clock change means is decided in `local_time.py` alone.

Five fields, as cron has them: minute, hour, day of month, month, day of week; six: a field of seconds
comes first. Names (MON, JAN), lists, ranges, steps, `L` (last day), `LW` (last weekday), `5L` (last
Friday), `MON#1` (first Monday). As in Debian's cron, a day must match both day fields if one of them
begins with `*`, else either.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

from cronsim import CronSim, CronSimError

from chronosdb.sched.errors import RecurrenceError

EXPRESSION_CHARS_MAX: Final = 256
_SECOND: Final = dt.timedelta(seconds=1)
#: Any time will do to parse.
_SOME_TIME: Final = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - local times have no zone here


class CronPattern:
    """A parsed expression."""

    def __init__(self, expression: str) -> None:
        """Raises RecurrenceError, saying which field is wrong."""
        if len(expression) > EXPRESSION_CHARS_MAX:
            raise RecurrenceError(
                f"a cron expression of {len(expression)} characters; at most"
                f" {EXPRESSION_CHARS_MAX} are allowed"
            )
        try:
            CronSim(expression, _SOME_TIME)
        except (CronSimError, ValueError, AssertionError) as error:
            raise RecurrenceError(
                f"{expression!r} is not a cron expression ({str(error) or 'cannot be read'}): five"
                " fields, minute hour day month weekday, or six with seconds first"
            ) from None
        self._expression = expression

    def matches(self, start: dt.datetime) -> Iterator[dt.datetime]:
        """The matching local times at or after `start`, in order; none if 50 years go by without.

        `start` is naive and of whole seconds.
        """
        assert start.tzinfo is None, start
        assert start.microsecond == 0, start
        try:
            # cronsim gives what comes after the time it is made with.
            yield from CronSim(self._expression, start - _SECOND)
        except OverflowError:
            return  # the calendar ends with the year 9999

"""What this part raises when data from outside is wrong; a misused call fails an assert instead."""

from __future__ import annotations


class SchedError(ValueError):
    """Root of this part's errors."""


class PolicyError(SchedError):
    """A retry policy's settings contradict each other or leave their limits."""


class CorruptStateError(SchedError):
    """Stored bytes are not a cursor or pending set of this version: rebuild the view from the log."""


class RecurrenceError(SchedError):
    """Not a cron expression, time zone or other rule of recurrence; the message says what is wrong."""

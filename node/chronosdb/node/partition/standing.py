"""Where a stored event stands: pending, fired or cancelled."""

from __future__ import annotations

from enum import StrEnum

from chronosdb.node.partition.timers import Timers


class Standing(StrEnum):
    """One of these at any time; the last two are for ever."""

    PENDING = "pending"
    FIRED = "fired"
    CANCELLED = "cancelled"


def standing(timers: Timers, offset: int) -> Standing:
    """Where the event at `offset`, which is in the log, stands."""
    if offset in timers.pending:
        return Standing.PENDING
    return Standing.CANCELLED if offset in timers.cancelled else Standing.FIRED

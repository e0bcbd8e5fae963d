"""How far a log was at a moment, as well as the history can tell: at least here, at most there.

A request is answered from a committed prefix of the log. That prefix holds every record whose effect
somebody had seen before the request was made, and no record that was only asked for, or that is dated,
after the answer. Places in a log are line numbers of its dump.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.proof.checker.columns import NEVER, Int64s, Rows
from tests.proof.checker.logs import PartitionLog
from tests.proof.checker.tables import OK, Tables


@dataclass(frozen=True, slots=True)
class Bracket:
    """For one log."""

    #: From `seen_t[i]` on, the log is known to reach line `seen_line[i]`. Both grow.
    seen_t: Int64s
    seen_line: Int64s
    #: What is asked for after `later_t[i]` lies at line `later_line[i]` or behind. Both grow.
    later_t: Int64s
    later_line: Int64s
    #: The records and their times. Both grow.
    record_line: Int64s
    record_ts: Int64s
    slack_ms: int

    def reach(self, t_call: int, t_ret: int, wall_ret: int) -> tuple[int, int]:
        """The last lines that the answer was surely, and possibly, made from."""
        at = int(np.searchsorted(self.seen_t, t_call, side="left")) - 1
        low = int(self.seen_line[at]) if at >= 0 else -1
        asked = int(np.searchsorted(self.later_t, t_ret, side="right"))
        high = int(self.later_line[asked]) - 1 if asked < len(self.later_t) else NEVER
        if wall_ret != NEVER:
            dated = int(np.searchsorted(self.record_ts, wall_ret + self.slack_ms, side="right"))
            if dated < len(self.record_line):
                high = min(high, int(self.record_line[dated]) - 1)
        return low, max(low, high)


def bracket(tables: Tables, log: PartitionLog, parts: Seen) -> Bracket:
    """What the history says about one log."""
    seen_t, seen_line = _seen(log, parts)
    order = np.argsort(seen_t, kind="stable")
    later_t, later_line = _asked_for(log, parts.published)
    later = np.argsort(later_t, kind="stable")
    suffix = np.minimum.accumulate(later_line[later][::-1])[::-1]
    rows = log.parts
    lines = np.concatenate([some["line"] for some in _all(rows)])
    times = np.concatenate([some["ts"] for some in _all(rows)])
    by_line = np.argsort(lines, kind="stable")
    return Bracket(
        seen_t[order],
        np.maximum.accumulate(seen_line[order]),
        later_t[later],
        suffix,
        lines[by_line],
        np.maximum.accumulate(times[by_line]) if len(times) else times,
        tables.slack_ms(),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What clients did with one log."""

    published: Rows
    delivered: Rows
    acked: Rows


def _all(rows: object) -> list[Rows]:
    names = ("stored", "fired", "cancelled", "moved", "settled", "begun")
    return [getattr(rows, name) for name in names]


def _seen(log: PartitionLog, parts: Seen) -> tuple[Int64s, Int64s]:
    events = log.events
    stored = parts.published.where(
        (parts.published["outcome"] == OK) & events.holds(parts.published["offset"])
    )
    offsets = log.at_position(parts.delivered["position"])
    fired = parts.delivered.where(events.holds(offsets))
    at = events.at(log.at_position(fired["position"]))
    known = events.fired_line[at] != NEVER
    return (
        np.concatenate([stored["t_ret"], fired["t"][known]]),
        np.concatenate([events.line[events.at(stored["offset"])], events.fired_line[at][known]]),
    )


def _asked_for(log: PartitionLog, published: Rows) -> tuple[Int64s, Int64s]:
    events = log.events
    made = published.where(
        (published["outcome"] == OK)
        & (published["duplicate"] == 0)
        & events.holds(published["offset"])
    )
    return made["t_call"], events.line[events.at(made["offset"])]

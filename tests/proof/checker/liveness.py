"""I16: whatever was asked returns, and after healing a publish soon succeeds. I17: stepped clocks."""

from __future__ import annotations

from typing import Final

import numpy as np

from tests.proof.checker.case import Case
from tests.proof.checker.columns import NEVER
from tests.proof.checker.logs import PartitionLog
from tests.proof.checker.tables import OK
from tests.proof.checker.verdict import Verdict

_MS: Final = 1_000_000


def check_liveness(case: Case, verdict: Verdict) -> None:
    """Calls that never returned, and the first publish after each healing."""
    table = case.tables.published
    verdict.judge("I16", "calls returned", len(table) + len(case.tables.acked))
    for one in case.tables.stuck:
        verdict.violate("I16", f"{one.call.f} of {one.call.proc} never returned", (one.line, None))
    for sight in case.tables.seen("healed"):
        until = sight.t_ns + sight.seen["bound_ms"] * _MS
        tried = (table["t_call"] >= sight.t_ns) & (table["t_call"] < until)
        done = (table["outcome"] == OK) & (table["t_ret"] >= sight.t_ns) & (table["t_ret"] <= until)
        # A history that ends before the time is up, or in which nobody tried, shows nothing.
        if done.any() or (tried.any() and until <= case.tables.end_t_ns):
            verdict.judge("I16", "healings", 1)
            if not done.any():
                verdict.violate(
                    "I16",
                    f"no publish succeeded within {sight.seen['bound_ms']} ms of healing",
                    (sight.line, None),
                )


def check_clock(case: Case, verdict: Verdict) -> None:
    """After a step back nothing fires twice, and no log goes back in time."""
    since_ms = case.first_step_back_ms()
    if since_ms == NEVER:
        return
    verdict.judge("I17", "clock steps", len(case.tables.seen("clock")))
    for log in case.logs.values():
        _check_log_time(log, since_ms, verdict)


def _check_log_time(log: PartitionLog, since_ms: int, verdict: Verdict) -> None:
    fired = log.parts.fired
    later = fired["ts"] >= since_ms
    again = np.ones(len(fired), dtype=np.bool_)
    again[np.unique(fired["offset"], return_index=True)[1]] = False
    verdict.judge("I17", "firings", int(later.sum()))
    verdict.violate_rows(
        "I17",
        fired,
        again & later,
        lambda i: f"{log.name} offset {fired['offset'][i]} fired again after a step back",
    )
    back = fired["ts"] < np.maximum.accumulate(fired["ts"]) if len(fired) else again
    verdict.violate_rows(
        "I17",
        fired,
        back,
        lambda i: (
            f"{log.name} position {fired['position'][i]} fired at a time before the one before"
        ),
    )

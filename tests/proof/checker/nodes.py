"""What only the nodes themselves can tell: I9 (epochs), I14 (damage) and I15 (fail-stop).

What takes several copies of a log is in replicas.py.
"""

from __future__ import annotations

import numpy as np

from tests.proof.checker.case import Case
from tests.proof.checker.columns import Rows
from tests.proof.checker.tables import OK
from tests.proof.checker.verdict import Verdict


def check_nodes(case: Case, verdict: Verdict) -> None:
    """As far as logs and sights go."""
    _check_epochs(case, verdict)
    _check_damage(case, verdict)
    _check_fail_stop(case, verdict)


def _check_epochs(case: Case, verdict: Verdict) -> None:
    """I9: a new leader has a new, higher epoch."""
    for rows in case.tables.epochs.all().by("log").values():
        verdict.judge("I9", "epochs", len(rows))
        _check_growing(case, rows, verdict)


def _check_growing(case: Case, rows: Rows, verdict: Verdict) -> None:
    stays = rows["epoch"][1:] <= rows["epoch"][:-1]
    verdict.violate_rows(
        "I9",
        rows,
        np.concatenate([[False], stays]),
        lambda i: f"{case.at(rows, i)}: epoch {rows['epoch'][i]} follows {rows['epoch'][i - 1]}",
    )


def _check_damage(case: Case, verdict: Verdict) -> None:
    """I14: no log is damaged that nobody damaged."""
    if case.tables.seen("damage"):
        return
    verdict.judge("I14", "logs verified", len(case.tables.ends))
    for number, end in case.tables.ends.items():
        for problem in end.seen.get("problems", []):
            verdict.violate("I14", f"{case.tables.log_name(number)}: {problem}", (end.line, None))


def _check_fail_stop(case: Case, verdict: Verdict) -> None:
    """I15: between a failed write or sync and the next start, no publish or ack succeeds."""
    for sight in case.tables.seen("disk failed"):
        starts = [one.t_ns for one in case.tables.seen("start") if one.proc == sight.proc]
        until = min((t_ns for t_ns in starts if t_ns > sight.t_ns), default=case.tables.end_t_ns)
        verdict.judge("I15", "failures", 1)
        for table, what in ((case.tables.published, "publish"), (case.tables.acked, "ack")):
            rows = table.where(
                (table["outcome"] == OK) & (table["t_call"] > sight.t_ns) & (table["t_ret"] < until)
            )
            for line in np.unique(rows["line"]).tolist():
                verdict.violate(
                    "I15",
                    f"a {what} succeeded after the disk had failed",
                    (sight.line, None),
                    (line, None),
                )

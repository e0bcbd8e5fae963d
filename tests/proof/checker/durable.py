"""I1: what was acknowledged is in the log for good."""

from __future__ import annotations

import numpy as np

from tests.proof.checker.case import Case, Named
from tests.proof.checker.columns import NEVER, NONE, Rows
from tests.proof.checker.logs import PartitionLog
from tests.proof.checker.tables import CANCELLED, DONE, OK
from tests.proof.checker.verdict import Verdict


def check_durable(case: Case, verdict: Verdict) -> None:
    """Every ok publish, cancel and reschedule."""
    table = case.tables.published
    acked = table.where((table["outcome"] == OK) & (table["log"] != NONE))
    for log, rows in case.by_log(acked):
        _check_publishes(log, rows, verdict)
    changed = case.tables.changed
    wanted = np.where(changed["move"] != 0, DONE, CANCELLED)
    done = changed.where((changed["outcome"] == OK) & (changed["answer"] == wanted))
    _check_changes(case, done, verdict)


def _check_publishes(log: PartitionLog, rows: Rows, verdict: Verdict) -> None:
    # Below the first offset, retention has had its way with what was not carried.
    rows = rows.where((rows["offset"] >= log.first_offset) | log.events.holds(rows["offset"]))
    verdict.judge("I1", "acked publishes", len(rows))
    held = log.events.holds(rows["offset"])
    verdict.violate_rows(
        "I1",
        rows,
        ~held,
        lambda i: f"{log.name} offset {rows['offset'][i]} was acked and is not in the log",
    )
    rows = rows.where(held)
    at = log.events.at(rows["offset"])
    wrong_id = log.events.id[at] != rows["id"]
    # A duplicate with other content is the business of I5.
    first = rows["duplicate"] == 0
    wrong_bytes = first & (log.events.content[at] != rows["content"])
    wrong_due = first & (rows["due"] != NONE) & (log.events.due[at] != rows["due"])
    verdict.violate_rows(
        "I1",
        rows,
        wrong_id | wrong_bytes | wrong_due,
        lambda i: f"{log.name} offset {rows['offset'][i]} holds another event than was acked there",
        lambda i: [log.events.place(int(at[i]))],
    )


def _check_changes(case: Case, rows: Rows, verdict: Verdict) -> None:
    """A cancelled event is cancelled, a moved one was moved to that time, in one of the partitions."""
    cut = {case.tables.log_topic(log.number) for log in case.logs.values() if log.first_offset}
    moves = {
        log.number: set(
            zip(*(log.parts.moved[name].tolist() for name in ("offset", "due")), strict=True)
        )
        for log in case.logs.values()
    }
    for i in range(len(rows)):
        named = case.named(rows, i)
        if not named or int(rows["topic"][i]) in cut:
            continue
        verdict.judge("I1", "acked changes", 1)
        due = int(rows["due"][i])
        if rows["move"][i]:
            kept = any(_was_moved(one, due, moves[one.log.number]) for one in named)
        else:
            kept = any(_was_cancelled(one) for one in named)
        if not kept:
            what = "reschedule" if rows["move"][i] else "cancel"
            topic = case.tables.topics.all[int(rows["topic"][i])]
            verdict.violate(
                "I1",
                f"{topic}: a {what} was acked, and no log has it",
                (int(rows["line"][i]), None),
            )


def _was_cancelled(one: Named) -> bool:
    return any(one.log.events.cancelled_line[at] != NEVER for at in one.records)


def _was_moved(one: Named, due: int, moves: set[tuple[int, int]]) -> bool:
    offsets = {at + one.log.events.base for at in one.records}
    if due == NONE:  # to whenever it was done
        return any(offset in offsets for offset, _ in moves)
    return any((offset, due) in moves for offset in offsets)

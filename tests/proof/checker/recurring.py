"""Recurring schedules: each of their events is one that somebody stated (I2), and none is left out (I4)."""

from __future__ import annotations

import numpy as np

from tests.proof.checker.case import Case
from tests.proof.checker.columns import NEVER, Mask, Rows
from tests.proof.checker.tables import FAIL
from tests.proof.checker.verdict import Verdict, place


def check_recurring(case: Case, verdict: Verdict) -> None:
    """The events that the logs have of schedules, against what was put."""
    occurred = case.tables.occurred.all()
    intervals = _intervals(case)
    verdict.judge("I2", "occurrences", len(occurred))
    stated = np.array([key in intervals for key in _keys(occurred)], dtype=np.bool_)
    wrong = ~stated | (occurred["due"] != occurred["occurrence"])
    verdict.violate_rows(
        "I2",
        occurred,
        wrong,
        lambda i: f"{case.at(occurred, i)} offset {occurred['offset'][i]} is of no schedule",
    )
    cut = {case.tables.log_topic(log.number) for log in case.logs.values() if log.first_offset}
    rows = occurred.where(~np.isin(case.topics(occurred), list(cut)) & ~wrong)
    for series in rows.by("series").values():
        every_ms = intervals[next(iter(_keys(series)))]
        in_time = series.where(np.argsort(series["occurrence"]))
        _check_complete(in_time.where(_not_withdrawn(case, in_time)), every_ms, verdict)


def _intervals(case: Case) -> dict[tuple[int, int], int]:
    """Of each schedule that may have been put: its name and content, and the interval."""
    return {
        (hash(one.args["name"]), hash(one.args["content"])): one.args["every_ms"]
        for one in case.tables.asked("put_schedule")
        if one.outcome != FAIL
    }


def _keys(rows: Rows) -> list[tuple[int, int]]:
    return list(zip(rows["name"].tolist(), rows["content"].tolist(), strict=True))


def _not_withdrawn(case: Case, series: Rows) -> Mask:
    """All up to the last that was not cancelled.

    When a schedule is replaced or paused, what is still to come is: some of it has its event already, and what
    lies in a partition that has had no leader for a while has none.
    """
    kept = np.zeros(len(series), dtype=np.bool_)
    for i, (number, offset) in enumerate(
        zip(series["log"].tolist(), series["offset"].tolist(), strict=True)
    ):
        events = case.logs[number].events
        kept[i] = events.cancelled_line[offset - events.base] == NEVER
    return np.asarray(np.arange(len(series)) <= np.flatnonzero(kept).max(initial=-1))


def _check_complete(series: Rows, every_ms: int, verdict: Verdict) -> None:
    """From the first occurrence of a series to its last, every interval has its event."""
    occurrences = series["occurrence"]
    verdict.judge("I4", "intervals of schedules", max(0, len(series) - 1))
    for i in np.flatnonzero(np.diff(occurrences) > every_ms).tolist():
        verdict.violate(
            "I4",
            f"of a schedule with an event each {every_ms} ms there is {occurrences[i]}, and next"
            f" {occurrences[i + 1]}",
            place(series, i),
            place(series, i + 1),
        )

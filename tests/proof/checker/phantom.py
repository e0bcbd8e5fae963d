"""I2: nothing is stored or delivered that nobody published; bytes are equal."""

from __future__ import annotations

import numpy as np

from tests.proof.checker.case import Case
from tests.proof.checker.columns import NONE, Int64s, Rows, mixed
from tests.proof.checker.logs import PartitionLog
from tests.proof.checker.tables import FAIL, topics_of
from tests.proof.checker.verdict import Verdict


def check_phantoms(case: Case, verdict: Verdict) -> None:
    """The logs against the publishes; deliveries and replays against the logs, or the publishes."""
    table = case.tables.published
    published = table.where(table["outcome"] != FAIL)
    for rows, what in (
        (case.tables.stored.all(), "stored events"),
        (case.tables.carried.all(), "carried events"),
    ):
        _check_stored(case, rows, published, verdict, what)
    for rows, what in (
        (case.tables.delivered.all(), "deliveries"),
        (case.tables.replayed.all(), "replayed"),
    ):
        for number, some in rows.by("log").items():
            log = case.logs.get(number)
            if log is not None:
                _check_logged(log, some, verdict, what)
            elif not case.is_dead_letters(number):
                _check_unlogged(case, some, published, verdict, what)


def _check_stored(case: Case, stored: Rows, published: Rows, verdict: Verdict, what: str) -> None:
    topics = topics_of(stored["log"])
    letters = stored["letter"] != 0
    # By content, for letters and what schedules make have ids of their own.
    put = [hash(one.args["content"]) for one in case.tables.asked("put_schedule")]
    contents = np.concatenate([published["content"], np.array(put, dtype=np.int64)])
    known = np.isin(stored["content"], contents) & letters
    keys = mixed(topics, stored["id"], stored["content"])
    free = (published["due"] == NONE) | (published["relative"] != 0)
    known |= np.isin(keys, _keys(published.where(free)))
    fixed = published.where(~free)
    times = mixed(keys, stored["due"], stored["expires"])
    known |= np.isin(times, mixed(_keys(fixed), fixed["due"], fixed["expires"]))
    verdict.judge("I2", what, len(stored))
    verdict.violate_rows(
        "I2",
        stored,
        ~known,
        lambda i: f"{case.at(stored, i)} offset {stored['offset'][i]} was published by nobody",
    )


def _keys(published: Rows) -> Int64s:
    return mixed(published["topic"], published["id"], published["content"])


def _check_logged(log: PartitionLog, rows: Rows, verdict: Verdict, what: str) -> None:
    verdict.judge("I2", what, len(rows))
    held = log.events.holds(rows["offset"])
    gone = rows["offset"] < log.first_offset
    verdict.violate_rows(
        "I2",
        rows,
        ~held & ~gone,
        lambda i: f"{log.name} offset {rows['offset'][i]} was given out and is not in the log",
    )
    rows = rows.where(held)
    at = log.events.at(rows["offset"])
    differs = (log.events.id[at] != rows["id"]) | (log.events.content[at] != rows["content"])
    if what == "deliveries":
        # A delivery says when the event was due as it fired; a replay may say it as published.
        due = log.events.fired_due[at]
        differs |= (due != NONE) & (due != rows["due"])
    verdict.violate_rows(
        "I2",
        rows,
        differs,
        lambda i: f"{log.name} offset {rows['offset'][i]} is another event than was stored",
        lambda i: [log.events.place(int(at[i]))],
    )


def _check_unlogged(case: Case, rows: Rows, published: Rows, verdict: Verdict, what: str) -> None:
    """There is no log to compare with: some publish must have had this id and these bytes."""
    topics = topics_of(rows["log"])
    verdict.judge("I2", what, len(rows))
    same = np.isin(mixed(topics, rows["id"], rows["content"]), _keys(published))
    verdict.violate_rows(
        "I2",
        rows,
        ~same,
        lambda i: f"{case.at(rows, i)} offset {rows['offset'][i]} was published by nobody",
    )

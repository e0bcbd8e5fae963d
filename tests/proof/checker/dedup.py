"""I5: inside the window, one id stores one event, and whoever publishes it again is told so."""

from __future__ import annotations

import numpy as np

from tests.proof.checker.case import Case
from tests.proof.checker.columns import NONE, Rows, mixed
from tests.proof.checker.logs import PartitionLog
from tests.proof.checker.tables import FAIL, OK, topics_of
from tests.proof.checker.verdict import Verdict


def check_dedup(case: Case, verdict: Verdict) -> None:
    """What is stored, what was answered, and what was refused."""
    _check_stored(case, verdict)
    table = case.tables.published
    answered = table.where((table["outcome"] == OK) & (table["log"] != NONE))
    _check_answers(case, answered, verdict)
    _check_silence(case, answered.where(answered["duplicate"] != 0), verdict)
    _check_refusals(case, verdict)


def _check_stored(case: Case, verdict: Verdict) -> None:
    stored = case.tables.stored.all()
    verdict.judge("I5", "stored events", len(stored))
    order = np.lexsort((stored["line"], stored["id"], stored["log"]))
    rows = stored.where(order)
    again = (rows["id"][1:] == rows["id"][:-1]) & (rows["log"][1:] == rows["log"][:-1])
    window = _windows(case, rows)
    again &= rows["ts"][1:] - rows["ts"][:-1] < window[1:]
    wrong = np.concatenate([[False], again]) if len(rows) else np.zeros(0, dtype=np.bool_)
    verdict.violate_rows(
        "I5",
        rows,
        wrong,
        lambda i: (
            f"{case.at(rows, i)} stores one id at offsets {rows['offset'][i - 1]} and"
            f" {rows['offset'][i]}"
        ),
        lambda i: [(int(rows["line"][i - 1]), int(rows["row"][i - 1]))],
    )


def _windows(case: Case, rows: Rows) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    topics = topics_of(rows["log"])
    windows = np.zeros(len(rows), dtype=np.int64)
    for topic in np.unique(topics).tolist():
        windows[topics == topic] = case.tables.window_ms(topic)
    return windows


def _check_answers(case: Case, rows: Rows, verdict: Verdict) -> None:
    """No answer names an offset that the id no longer stood for; per offset, one that was first."""
    verdict.judge("I5", "answers", len(rows))
    order = np.lexsort((rows["t_ret"], rows["id"], rows["log"]))
    rows = rows.where(order)
    if not len(rows):
        return
    same = (rows["id"][1:] == rows["id"][:-1]) & (rows["log"][1:] == rows["log"][:-1])
    changed = np.concatenate([[False], same & (rows["offset"][1:] != rows["offset"][:-1])])
    wrong = np.zeros(len(rows), dtype=np.bool_)
    for i in np.flatnonzero(changed).tolist():
        wrong[i] = not _may_change(case, rows, i)
    verdict.violate_rows(
        "I5",
        rows,
        wrong,
        lambda i: (
            f"{case.at(rows, i)}: one id was answered with offset {rows['offset'][i - 1]} and"
            f" with {rows['offset'][i]}"
        ),
        lambda i: [(int(rows["line"][i - 1]), int(rows["row"][i - 1]))],
    )
    fresh = rows.where(rows["duplicate"] == 0)
    by_place = np.lexsort((fresh["offset"], fresh["log"]))
    fresh = fresh.where(by_place)
    twice = (fresh["offset"][1:] == fresh["offset"][:-1]) & (fresh["log"][1:] == fresh["log"][:-1])
    verdict.violate_rows(
        "I5",
        fresh,
        np.concatenate([[False], twice]) if len(fresh) else twice,
        lambda i: f"{case.at(fresh, i)} offset {fresh['offset'][i]} was twice said to be new",
        lambda i: [(int(fresh["line"][i - 1]), int(fresh["row"][i - 1]))],
    )


def _may_change(case: Case, rows: Rows, i: int) -> bool:
    """Whether the id of a row may stand for another offset than in the row before."""
    number, offset = int(rows["log"][i]), int(rows["offset"][i])
    log = case.logs.get(number)
    if log is None or offset < log.first_offset:
        # When the first one was stored is known only if that row says that it was new.
        spent_ms = int(rows["wall_ret"][i] - rows["wall_call"][i - 1]) + case.tables.slack_ms()
        window_ms = case.tables.window_ms(case.tables.log_topic(number))
        return bool(rows["duplicate"][i - 1]) or spent_ms >= window_ms
    # That each was stored, and not too soon after the other, is looked at in the log itself.
    times = (int(rows[name][i]) for name in ("t_call", "t_ret", "wall_ret"))
    least, most = case.brackets[number].reach(*times)
    return offset - log.events.base in log.records_of(int(rows["id"][i]), least, most)


def _check_silence(case: Case, rows: Rows, verdict: Verdict) -> None:
    """A duplicate that differs from what is stored should have been a conflict."""
    for log, some in case.by_log(rows):
        _check_silence_of(log, some.where(log.events.holds(some["offset"])), verdict)


def _check_silence_of(log: PartitionLog, rows: Rows, verdict: Verdict) -> None:
    events, at = log.events, log.events.at(rows["offset"])
    free = (rows["due"] == NONE) | (rows["relative"] != 0) | (events.relative[at] != 0)
    differs = (events.content[at] != rows["content"]) & (events.id[at] == rows["id"])
    differs |= ~free & (events.due[at] != rows["due"])
    verdict.judge("I5", "duplicates", len(rows))
    verdict.violate_rows(
        "I5",
        rows,
        differs,
        lambda i: f"{log.name} offset {rows['offset'][i]} is called a duplicate of other content",
        lambda i: [events.place(int(at[i]))],
    )


def _check_refusals(case: Case, verdict: Verdict) -> None:
    """A conflict needs an event of that id that is different."""
    table = case.tables.published
    refused = table.where((table["outcome"] == FAIL) & (table["conflict"] != 0))
    others = table.where(table["outcome"] != FAIL)
    names = mixed(others["topic"], others["id"])
    order = np.argsort(names, kind="stable")
    names = names[order]
    verdict.judge("I5", "conflicts", len(refused))
    wanted = mixed(refused["topic"], refused["id"])
    first = np.searchsorted(names, wanted, side="left").tolist()
    last = np.searchsorted(names, wanted, side="right").tolist()
    unfounded = np.zeros(len(refused), dtype=np.bool_)
    for i, (start, stop) in enumerate(zip(first, last, strict=True)):
        candidates = others.where(order[start:stop])
        differs = candidates["content"] != refused["content"][i]
        differs |= candidates["due"] != refused["due"][i]
        unfounded[i] = not (differs & (candidates["t_call"] < refused["t_ret"][i])).any()
    verdict.violate_rows(
        "I5", refused, unfounded, lambda _: "a conflict, and nobody published that id differently"
    )

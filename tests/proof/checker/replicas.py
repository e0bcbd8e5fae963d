"""What only several copies of a log, and what their nodes said meanwhile, can show.

I9: in one epoch one node leads; so records of one epoch at one place are equal, committed or not. I10: copies
agree below what is committed, and nothing below it is ever cut off. I11: the high watermark only grows.
"""

from __future__ import annotations

import numpy as np

from tests.proof.checker.case import Case
from tests.proof.checker.columns import NONE, Int64s, Mask, Rows, mixed
from tests.proof.checker.tables import Sight
from tests.proof.checker.verdict import Verdict, place


def check_replicas(case: Case, verdict: Verdict) -> None:
    """Every copy that was dumped, and every trace."""
    copied, traced = case.tables.copied.all(), case.tables.traced.all()
    traces = traced.by("log")
    for number, rows in traced.by("log").items():
        _check_one_leader(case, rows, verdict)
        _check_growing(case, rows, verdict)
        _check_kept(case, number, rows, verdict)
    for number, rows in copied.by("log").items():
        _check_epochs(case, rows, verdict)
        _check_prefixes(case, number, rows, traces.get(number), verdict)
    for sight in case.tables.seen("level"):
        _check_level(case, sight, verdict)


def _check_one_leader(case: Case, rows: Rows, verdict: Verdict) -> None:
    """I9: who led in an epoch, over all times that somebody looked."""
    leading = rows.where(rows["leads"] != 0)
    verdict.judge("I9", "leaders seen", len(leading))
    for own in leading.by("epoch").values():
        other = own["node"] != own["node"][0]
        verdict.violate_rows(
            "I9",
            own,
            other,
            lambda i, own=own: (  # type: ignore[misc]
                f"{case.at(own, i)}: {_names(case, own, i)} and {_names(case, own, 0)} both led in epoch"
                f" {own['epoch'][i]}"
            ),
            lambda _, own=own: [place(own, 0)],  # type: ignore[misc]
        )


def _check_growing(case: Case, rows: Rows, verdict: Verdict) -> None:
    """I11: of one life of a node, and of the leaders one after the other.

    By epoch, not by time: an old leader that was cut off does not know yet that it is none any more.
    """
    for one in rows.by("life").values():
        _check_monotone(case, one, verdict, "went back")
    leading = rows.where(rows["leads"] != 0)
    by_epoch = leading.where(np.argsort(leading["epoch"], kind="stable"))
    _check_monotone(case, by_epoch, verdict, "is below an earlier leader's")


def _check_monotone(case: Case, rows: Rows, verdict: Verdict, text: str) -> None:
    verdict.judge("I11", "high watermarks", len(rows))
    if not len(rows):
        return
    highest = np.maximum.accumulate(rows["hw"])
    verdict.violate_rows(
        "I11",
        rows,
        rows["hw"] < highest,
        lambda i: (
            f"{case.at(rows, i)}: the high watermark {rows['hw'][i]} of {_names(case, rows, i)} {text}"
            f" ({highest[i]})"
        ),
        lambda i: [place(rows, int(np.argmax(rows["hw"][:i]))) if i else place(rows, 0)],
    )


def _check_kept(case: Case, number: int, rows: Rows, verdict: Verdict) -> None:
    """I10: what was ever said to be committed is in the log that is left."""
    end = next((s for s in case.tables.copy_ends.get(number, {}).values() if s.seen["leads"]), None)
    if end is None:
        return
    verdict.judge("I10", "high watermarks kept", len(rows))
    verdict.violate_rows(
        "I10",
        rows,
        rows["hw"] > end.seen["end"],
        lambda i: (
            f"{case.at(rows, i)}: {_names(case, rows, i)} had committed up to {rows['hw'][i]}, and the log"
            f" ends at {end.seen['end']}"
        ),
        lambda _: [(end.line, None)],
    )


def _check_epochs(case: Case, rows: Rows, verdict: Verdict) -> None:
    """I9: two records of one epoch at one place are one record."""
    verdict.judge("I9", "records of copies", len(rows))
    order = np.lexsort((rows["epoch"], rows["lsn"]))
    some = rows.where(order)
    same = (some["lsn"][1:] == some["lsn"][:-1]) & (some["epoch"][1:] == some["epoch"][:-1])
    wrong = np.concatenate([[False], same & (some["sum"][1:] != some["sum"][:-1])])
    verdict.violate_rows(
        "I9",
        some,
        wrong,
        lambda i: (
            f"{case.at(some, i)} at {some['lsn'][i]}: {_names(case, some, i - 1)} and"
            f" {_names(case, some, i)} each have another record of epoch {some['epoch'][i]}"
        ),
        lambda i: [place(some, i - 1)],
    )


def _check_prefixes(
    case: Case, number: int, rows: Rows, traced: Rows | None, verdict: Verdict
) -> None:
    """I10: below what a node knew to be committed, its records are the leader's."""
    ends = case.tables.copy_ends.get(number, {})
    leads = next((node for node, sight in ends.items() if sight.seen["leads"]), None)
    if leads is None:
        return
    reference = rows.where(rows["node"] == leads)
    begin = ends[leads].seen["begin"]
    for node, own in rows.by("node").items():
        mine = traced.where(traced["node"] == node) if traced is not None else own.where(_no(own))
        known = int(mine["hw"].max()) if len(mine) else NONE
        committed = own.where((own["lsn"] < known) & (own["lsn"] >= begin))
        verdict.judge("I10", "records of copies", len(committed))
        _compare(case, committed, reference, verdict)


def _check_level(case: Case, sight: Sight, verdict: Verdict) -> None:
    """Everybody had caught up: the copies are equal from where both begin, to the end."""
    for log in case.logs_of(sight.seen["topic"]):
        rows = case.tables.copied.where(case.tables.copied["log"] == log.number)
        ends = case.tables.copy_ends.get(log.number, {})
        leads = next((node for node, end in ends.items() if end.seen["leads"]), None)
        if leads is None:
            continue
        reference = rows.where(rows["node"] == leads)
        for node, end in ends.items():
            begin = max(end.seen["begin"], ends[leads].seen["begin"])
            own = rows.where((rows["node"] == node) & (rows["lsn"] >= begin))
            verdict.judge("I10", "level copies", 1)
            _compare(case, own, reference, verdict)
            if end.seen["end"] != ends[leads].seen["end"]:
                verdict.violate(
                    "I10",
                    f"{log.name}: the copy of {case.tables.procs.all[node]} ends at"
                    f" {end.seen['end']}, the leader's at {ends[leads].seen['end']}",
                    (end.line, None),
                    (ends[leads].line, None),
                )


def _compare(case: Case, rows: Rows, reference: Rows, verdict: Verdict) -> None:
    wrong = ~np.isin(_keys(rows), _keys(reference))
    verdict.violate_rows(
        "I10",
        rows,
        wrong,
        lambda i: (
            f"{case.at(rows, i)} at {rows['lsn'][i]}: the record of {_names(case, rows, i)} is not the"
            " leader's"
        ),
    )


def _keys(rows: Rows) -> Int64s:
    return mixed(rows["lsn"], rows["epoch"], rows["sum"])


def _no(rows: Rows) -> Mask:
    return np.zeros(len(rows), dtype=np.bool_)


def _names(case: Case, rows: Rows, i: int) -> str:
    return case.tables.procs.all[int(rows["node"][i])]

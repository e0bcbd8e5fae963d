"""I6: offsets and positions are dense, appends are linear, first deliveries come in position order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.proof.checker.case import Case
from tests.proof.checker.columns import NEVER, NONE, Int64s, Mask, Rows
from tests.proof.checker.logs import PartitionLog
from tests.proof.checker.tables import OK
from tests.proof.checker.verdict import Verdict


def check_order(case: Case, verdict: Verdict) -> None:
    """In the logs, in the answers to publishers, and in what each group was sent."""
    for log in case.logs.values():
        _check_dense(log, verdict)
    table = case.tables.published
    first = table.where(
        (table["outcome"] == OK) & (table["duplicate"] == 0) & (table["log"] != NONE)
    )
    for rows in first.by("log").values():
        _check_appends(case, rows, verdict)
    for rows in case.tables.delivered.all().by("log").values():
        _check_places(case, rows, verdict)
        for own in rows.by("group").values():
            _check_first_deliveries(case, own, verdict)


def _check_dense(log: PartitionLog, verdict: Verdict) -> None:
    stored, fired = log.parts.stored, log.parts.fired
    verdict.judge("I6", "offsets and positions", len(stored) + len(fired))
    fresh = stored.where(stored["offset"] >= log.first_offset)
    _check_row(log, fresh, "offset", log.first_offset, verdict)
    _check_row(log, fired, "position", log.first_position, verdict)
    same = fired["line"][1:] == fired["line"][:-1]
    back = (fired["due"][1:] < fired["due"][:-1]) | (
        (fired["due"][1:] == fired["due"][:-1]) & (fired["offset"][1:] <= fired["offset"][:-1])
    )
    verdict.violate_rows(
        "I6",
        fired.where(np.arange(1, len(fired))),
        same & back,
        lambda i: (
            f"{log.name} position {fired['position'][i + 1]} fired before what was due earlier"
        ),
    )


def _check_row(log: PartitionLog, rows: Rows, name: str, first: int, verdict: Verdict) -> None:
    """From the first on, without gaps and repetitions; of what is shifted, the first is named."""
    wrong = rows[name] != first + np.arange(len(rows))
    verdict.violate_rows(
        "I6",
        rows,
        wrong & ~_shifted(wrong),
        lambda i: f"{log.name}: {name} {rows[name][i]} does not follow the one before",
    )


def _shifted(mask: Mask) -> Mask:
    """The mask of the row before."""
    return np.concatenate([[False], mask[:-1]]) if len(mask) else mask


def _check_appends(case: Case, rows: Rows, verdict: Verdict) -> None:
    """What was answered before another publish was made lies before it."""
    by_answer = rows.where(np.argsort(rows["t_ret"], kind="stable"))
    highest = np.maximum.accumulate(by_answer["offset"])
    before = np.searchsorted(by_answer["t_ret"], rows["t_call"], side="left") - 1
    known = before >= 0
    wrong = known & (highest[np.maximum(before, 0)] >= rows["offset"])
    verdict.judge("I6", "appends", len(rows))
    verdict.violate_rows(
        "I6",
        rows,
        wrong,
        lambda i: (
            f"{case.at(rows, i)} offset {rows['offset'][i]} is not behind offset"
            f" {highest[before[i]]}, which had been answered before it was asked for"
        ),
    )


def _check_places(case: Case, rows: Rows, verdict: Verdict) -> None:
    """A position is one offset's, for every group and for ever, and what the log says."""
    log = case.logs.get(int(rows["log"][0]))
    verdict.judge("I6", "positions delivered", len(rows))
    if log is None:
        order = np.argsort(rows["position"], kind="stable")
        ordered = rows.where(order)
        same = ordered["position"][1:] == ordered["position"][:-1]
        wrong = np.concatenate([[False], same & (ordered["offset"][1:] != ordered["offset"][:-1])])
    else:
        ordered, said = rows, log.at_position(rows["position"])
        gone = rows["position"] < log.first_position
        wrong = ~gone & (said != rows["offset"])
    verdict.violate_rows(
        "I6",
        ordered,
        wrong,
        lambda i: (
            f"{case.at(ordered, i)} position {ordered['position'][i]} was given out as offset"
            f" {ordered['offset'][i]}, and is another's"
        ),
    )


def _check_first_deliveries(case: Case, rows: Rows, verdict: Verdict) -> None:
    """Of two positions that a group got for the first time, the lower one was sent no later.

    Unless something happened since the lower one fired that may have swallowed it: its first delivery
    may have been on its way to a member that was cut off, or handed back unread.
    """
    first = _first_times(rows)
    overtaken = np.zeros(len(first), dtype=np.bool_)
    for some in (_overtaken(first, case.tables.slack_ms()), *map(_overtaken_in, _members(first))):
        overtaken[some] = True
    number, group = int(rows["log"][0]), int(rows["group"][0])
    fired_ms = _fired_ms(case.logs.get(number), first["position"])
    excused = overtaken & _disturbed(
        _disturbances(case, number, group), fired_ms - case.tables.slack_ms(), first["t"]
    )
    verdict.judge("I6", "first deliveries", int((~excused).sum()))
    verdict.judge("I6", "excused by a loss", int(excused.sum()))
    verdict.violate_rows(
        "I6",
        first,
        overtaken & ~excused,
        lambda i: (
            f"{case.at(first, i)} position {first['position'][i]} was first sent to the group"
            " after a higher one"
        ),
    )


def _disturbed(disturbances: list[tuple[int, int]], since_ms: Int64s, until_t: Int64s) -> Mask:
    """Between which of these times, wall clock and monotonic, there was a disturbance."""
    if not disturbances:
        return np.zeros(len(since_ms), dtype=np.bool_)
    times = np.array(sorted(disturbances), dtype=np.int64)
    latest_ms = np.maximum.accumulate(times[:, 1])
    before = np.searchsorted(times[:, 0], until_t, side="right") - 1
    found: Mask = (before >= 0) & (latest_ms[np.maximum(before, 0)] >= since_ms)
    return found


def _first_times(rows: Rows) -> Rows:
    """The first delivery of each position, in the order of the history."""
    _, first = np.unique(rows["position"], return_index=True)
    some = rows.where(np.sort(first))
    return some.where(some["attempt"] == 1)


def _overtaken(rows: Rows, slack_ms: int) -> Int64s:
    """Indices of those that were sent later than a higher position, whatever the clock did."""
    order = np.lexsort((rows["position"], rows["sent_ms"]))
    sent, positions = rows["sent_ms"][order], rows["position"][order]
    if not len(order):
        return order
    highest = np.maximum.accumulate(positions)
    before = np.searchsorted(sent, sent - slack_ms, side="left") - 1
    wrong = (before >= 0) & (highest[np.maximum(before, 0)] > positions)
    return order[wrong]


def _members(rows: Rows) -> Iterator[tuple[Rows, Int64s]]:
    for member in np.unique(rows["member"]):
        at = np.flatnonzero(rows["member"] == member)
        yield rows.where(at), at


def _overtaken_in(own: tuple[Rows, Int64s]) -> Int64s:
    """Indices of those that one member got after a higher position."""
    rows, at = own
    return at[rows["position"] < np.maximum.accumulate(rows["position"])]


def _disturbances(case: Case, log: int, group: int) -> list[tuple[int, int]]:
    """When deliveries may have been lost on their way, or leases have changed hands."""
    topic = case.tables.topics.all[case.tables.log_topic(log)]
    place = {"topic": topic, "group": case.tables.groups.all[group]}
    times = [
        (sight.t_ns, sight.wall_ms)
        for sight in case.tables.sights
        if sight.f in {"crash", "stop", "start", "serving", "fault"}
        or (sight.f == "left" and place.items() <= sight.seen.items())
    ]
    times += [
        (one.call.t_ns, min(one.wall_ret, case.tables.end_wall_ms))
        for f in ("join", "reset_group")
        for one in case.tables.asked(f)
        if place.items() <= one.args.items()
    ]
    return times + _new_leaders(case, log)


def _new_leaders(case: Case, log: int) -> list[tuple[int, int]]:
    """When a log got a new leader, by its clock: a cluster may move the lead without any fault."""
    begin_t, begin_ms = case.tables.begin
    epochs = case.tables.epochs.where(case.tables.epochs["log"] == log)
    slack_ms = case.tables.slack_ms()
    return [
        (begin_t + (ts_ms - begin_ms - slack_ms) * 1_000_000, ts_ms + slack_ms)
        for ts_ms in epochs["ts"].tolist()
    ]


def _fired_ms(log: PartitionLog | None, positions: Int64s) -> Int64s:
    """When each fired; 0 where no log says it."""
    times = np.zeros(len(positions), dtype=np.int64)
    if log is not None:
        offsets = log.at_position(positions)
        held = log.events.holds(offsets)
        fired = log.events.fired_ts[log.events.at(offsets[held])]
        times[held] = np.where(fired == NEVER, 0, fired)
    return times

"""I13: an event is pending from its publish until it fires or is cancelled, and every answer says so."""

from __future__ import annotations

import numpy as np

from tests.proof.checker.case import Case, Named
from tests.proof.checker.columns import NEVER, NONE, Mask, Rows
from tests.proof.checker.logs import PartitionLog
from tests.proof.checker.tables import CANCELLED, DONE, FIRED, MISSING, OK, PENDING, Operation
from tests.proof.checker.verdict import Verdict


def check_timers(case: Case, verdict: Verdict) -> None:
    """The logs, and every count, listing, get, cancel and reschedule."""
    stepped_back = case.first_step_back_ms()
    for log in case.logs.values():
        _check_log(log, stepped_back, verdict)
    for one in case.tables.asked("count_pending"):
        if one.ok:
            _check_count(case, one, verdict)
    for one in case.tables.asked("pending"):
        if one.ok:
            _check_listing(case, one, verdict)
    for table, what in ((case.tables.changed, "changes"), (case.tables.got, "gets")):
        rows = table.where((table["outcome"] == OK) & (table["answer"] != NONE))
        for topic, some in rows.by("topic").items():
            _check_answers(case, topic, some, verdict, what)


def _check_log(log: PartitionLog, stepped_back_ms: int, verdict: Verdict) -> None:
    """An event fires once or is cancelled once, at the time that was last said."""
    fired, cancelled, moved = log.parts.fired, log.parts.cancelled, log.parts.moved
    verdict.judge("I13", "firings, cancels and moves", len(fired) + len(cancelled) + len(moved))
    # A second firing after the clock was stepped back is the business of I17.
    again = _again(fired) & (fired["ts"] < stepped_back_ms)
    verdict.violate_rows(
        "I13", fired, again, lambda i: f"{log.name} offset {fired['offset'][i]} fired a second time"
    )
    over = _line_of_end(log, cancelled)
    verdict.violate_rows(
        "I13",
        cancelled,
        over | _again(cancelled),
        lambda i: f"{log.name} offset {cancelled['offset'][i]} was over when it was cancelled",
    )
    late = moved.where(log.events.holds(moved["offset"]))
    at = log.events.at(late["offset"])
    gone = (log.events.fired_line[at] < late["line"]) | (
        log.events.cancelled_line[at] < late["line"]
    )
    verdict.violate_rows(
        "I13",
        late,
        gone,
        lambda i: f"{log.name} offset {late['offset'][i]} was over when it was moved",
    )
    known = fired.where(log.events.holds(fired["offset"]))
    wanted = log.events.due_now[log.events.at(known["offset"])]
    verdict.violate_rows(
        "I13",
        known,
        wanted != known["due"],
        lambda i: (
            f"{log.name} offset {known['offset'][i]} fired as due at {known['due'][i]}, and was"
            f" due at {wanted[i]}"
        ),
    )


def _again(rows: Rows) -> Mask:
    again = np.ones(len(rows), dtype=np.bool_)
    again[np.unique(rows["offset"], return_index=True)[1]] = False
    return again


def _line_of_end(log: PartitionLog, rows: Rows) -> Mask:
    held = log.events.holds(rows["offset"])
    fired = np.zeros(len(rows), dtype=np.bool_)
    fired[held] = log.events.fired_line[log.events.at(rows["offset"][held])] != NEVER
    return fired


def _check_count(case: Case, one: Operation, verdict: Verdict) -> None:
    if any(one.args[name] is not None for name in ("start", "end", "key")):
        return
    logs = case.logs_of(one.args["topic"])
    if not logs or any(log.first_offset for log in logs):
        return
    verdict.judge("I13", "counts", 1)
    lowest = highest = 0
    for log in logs:
        least, most = case.brackets[log.number].reach(one.call.t_ns, one.t_ret, one.wall_ret)
        low, high = case.curve(log).between(least, most)
        lowest, highest = lowest + low, highest + high
    count = one.ret["count"]
    if not lowest <= count <= highest:
        verdict.violate(
            "I13",
            f"{one.args['topic']}: {count} events were counted as pending, and there were"
            f" {lowest} to {highest}",
            (one.line, None),
        )


def _check_listing(case: Case, one: Operation, verdict: Verdict) -> None:
    verdict.judge("I13", "listings", 1)
    partitions = np.array(one.ret["partition"], dtype=np.int64)
    offsets = np.array(one.ret["offset"], dtype=np.int64)
    dues = np.array(one.ret["due"], dtype=np.int64)
    if len(dues) > 1 and (dues[1:] < dues[:-1]).any():
        verdict.violate("I13", "pending events were listed out of order", (one.line, None))
    for log in case.logs_of(one.args["topic"]):
        own = offsets[partitions == case.partition(log)]
        least, most = case.brackets[log.number].reach(one.call.t_ns, one.t_ret, one.wall_ret)
        must, may = _listed(log, one, least, most)
        every = np.arange(log.events.base, log.events.stop)
        got = np.isin(every, own)
        # Of what was before the log's beginning, the log does not say whether it was pending then.
        must, may = must & (every >= log.first_offset), may | (every < log.first_offset)
        for offset in every[got & ~may].tolist():
            verdict.violate(
                "I13", f"{log.name} offset {offset} was listed, and not pending", (one.line, None)
            )
        for offset in every[must & ~got].tolist():
            verdict.violate(
                "I13", f"{log.name} offset {offset} was pending, and not listed", (one.line, None)
            )
        if len(own) != len(np.unique(own)):
            verdict.violate("I13", f"{log.name}: an event was listed twice", (one.line, None))


def _listed(log: PartitionLog, one: Operation, least: int, most: int) -> tuple[Mask, Mask]:
    """Which offsets were pending and in the range all the time, and which at some time."""
    events, args = log.events, one.args
    over = np.minimum(events.fired_line, events.cancelled_line)
    must, may = (events.line <= least) & (over > most), (events.line <= most) & (over > least)
    moved = np.isin(np.arange(events.base, events.stop), log.parts.moved["offset"])
    low = NONE if args["start"] is None else args["start"]
    high = NEVER if args["end"] is None else args["end"]
    inside = (events.due >= low) & (events.due < high)
    bounded = args["start"] is not None or args["end"] is not None
    must &= inside & ~(moved & bounded) & (args["key"] is None)
    return must, may & (inside | moved)


def _check_answers(case: Case, topic: int, rows: Rows, verdict: Verdict, what: str) -> None:
    """Each answer was true of the event in some partition, at some moment of the request."""
    logs = [log for log in case.logs.values() if case.tables.log_topic(log.number) == topic]
    if not logs or any(log.first_offset for log in logs):
        return
    verdict.judge("I13", what, len(rows))
    # The window is measured on log time, which a step of the clock moves away from the wall's.
    window_ms = case.tables.window_ms(topic) - case.tables.slack_ms()
    names = {DONE: "moved", FIRED: "fired", CANCELLED: "cancelled", PENDING: "pending"}
    for i in range(len(rows)):
        answer, named = int(rows["answer"][i]), case.named(rows, i)
        if answer == MISSING:
            true = all(_is_missing(one, int(rows["wall_ret"][i]) - window_ms) for one in named)
        else:
            true = any(_was(one, at, answer) for one in named for at in one.records)
        if not true:
            verdict.violate(
                "I13",
                f"{case.tables.topics.all[topic]}: an event was said to be"
                f" {names.get(answer, 'not there')}, and never was while the answer was made",
                (int(rows["line"][i]), None),
            )


def _is_missing(one: Named, forgotten_ms: int) -> bool:
    """Whether an id may have been unknown: not stored yet, or outside the window and not pending."""
    events = one.log.events
    stored = [at for at in one.records if events.line[at] <= one.least]
    return all(
        events.ts[at] <= forgotten_ms
        and min(events.fired_line[at], events.cancelled_line[at]) <= one.most
        for at in stored
    )


def _was(one: Named, at: int, answer: int) -> bool:
    events = one.log.events
    if answer == FIRED:
        return bool(events.fired_line[at] <= one.most)
    if answer == CANCELLED:
        return bool(events.cancelled_line[at] <= one.most)
    # Pending, or moved, which only pending events are.
    return bool(min(events.fired_line[at], events.cancelled_line[at]) > one.least)

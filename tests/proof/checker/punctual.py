"""I3: never early. I4: what is due is delivered, and while all is well, soon."""

from __future__ import annotations

import numpy as np

from tests.proof.checker.case import Case
from tests.proof.checker.columns import NEVER, NONE, Int64s, Rows
from tests.proof.checker.intake_log import REASONS
from tests.proof.checker.logs import Life, PartitionLog
from tests.proof.checker.tables import Sight
from tests.proof.checker.verdict import Verdict


def check_never_early(case: Case, verdict: Verdict) -> None:
    """Every firing and every delivery, by the leader's clock and by the receiver's."""
    fired = case.tables.fired.all()
    verdict.judge("I3", "firings", len(fired))
    early = fired["ts"] < fired["due"]
    verdict.violate_rows(
        "I3",
        fired,
        early,
        lambda i: (
            f"{case.at(fired, i)} position {fired['position'][i]} fired "
            f"{fired['due'][i] - fired['ts'][i]} ms early"
        ),
    )
    rows = case.tables.delivered.all()
    verdict.judge("I3", "deliveries", len(rows))
    sent_early = rows["sent_ms"] < rows["due"]
    # Sender and receiver share a machine, and its clock; where that was stepped it says less.
    received_early = rows["wall"] + case.tables.slack_ms() < rows["due"]
    verdict.violate_rows(
        "I3",
        rows,
        sent_early | received_early,
        lambda i: (
            f"{case.at(rows, i)} position {rows['position'][i]}, due {rows['due'][i]}, was sent"
            f" at {rows['sent_ms'][i]} and received at {rows['wall'][i]}"
        ),
    )
    for log, own in case.by_log(rows):
        _check_expiry(log, own, verdict)


def _check_expiry(log: PartitionLog, rows: Rows, verdict: Verdict) -> None:
    """Nothing is sent once it has expired."""
    rows = rows.where(log.events.holds(rows["offset"]))
    expires = log.events.expires[log.events.at(rows["offset"])]
    verdict.judge("I3", "deliveries that expire", int((expires != NONE).sum()))
    verdict.violate_rows(
        "I3",
        rows,
        (expires != NONE) & (rows["sent_ms"] >= expires),
        lambda i: (
            f"{log.name} position {rows['position'][i]}, which expired at {expires[i]}, was sent at"
            f" {rows['sent_ms'][i]}"
        ),
    )


def check_delivered(case: Case, verdict: Verdict) -> None:
    """By the end everything, and within each healthy time everything within its bound."""
    delivered = case.tables.delivered
    for end in case.tables.seen("drained"):
        for log in case.logs_of(end.seen["topic"]):
            _check_fired(log, end, verdict)
            for name in end.seen["groups"]:
                _check_drained(case, log, name, end, verdict)
    for (topic, name), times in _healthy_times(case).items():
        group = case.tables.groups.number(name)
        for log in case.logs_of(topic):
            own = delivered.where((delivered["log"] == log.number) & (delivered["group"] == group))
            first = _first_sent(own, log.events.position)
            for begin, end in times:
                _check_bound(log, first, begin, end, verdict)


def _check_fired(log: PartitionLog, end: Sight, verdict: Verdict) -> None:
    """What was due has fired, or was cancelled."""
    events, rows = log.events, log.events.rows()
    at = events.at(rows["offset"])
    due = events.due_now[at] <= end.wall_ms
    open_ = (events.fired_line[at] == NEVER) & (events.cancelled_line[at] == NEVER)
    verdict.judge("I4", "stored events", int(due.sum()))
    verdict.violate_rows(
        "I4",
        rows,
        due & open_,
        lambda i: f"{log.name} offset {rows['offset'][i]} was due and never fired",
        lambda _: [(end.line, None)],
    )


def _check_drained(case: Case, log: PartitionLog, name: str, end: Sight, verdict: Verdict) -> None:
    """What has fired since the group began was delivered to it, or settled without it."""
    group = case.tables.groups.number(name)
    lives = log.lives.get(group)
    if not lives:
        return
    life = lives[-1]
    table = case.tables.delivered
    own = table.where((table["log"] == log.number) & (table["group"] == group))
    positions = np.arange(max(life.start, log.first_position), log.end_position)
    # Dead-lettered, purged or expired; or before the log begins now, which does not say why.
    otherwise = life.settled.reason[positions - life.start] > REASONS["acked"]
    missing = ~np.isin(positions, own["position"]) & ~otherwise
    verdict.judge("I4", "positions drained", len(positions))
    for position in positions[missing].tolist():
        verdict.violate(
            "I4", f"{log.name} position {position} was never delivered to {name}", (end.line, None)
        )
    _check_given_up(log, life, name, verdict)


def _check_given_up(log: PartitionLog, life: Life, name: str, verdict: Verdict) -> None:
    """What was settled as expired had expired."""
    given_up = np.flatnonzero(life.settled.reason == REASONS["expired"])
    offsets = log.at_position(given_up + life.start)
    held = log.events.holds(offsets)
    verdict.judge("I4", "expired", int(held.sum()))
    for at, offset in zip(given_up[held].tolist(), offsets[held].tolist(), strict=True):
        expires = int(log.events.expires[offset - log.events.base])
        if expires == NONE or life.settled.ts[at] < expires:
            verdict.violate(
                "I4",
                f"{log.name} offset {offset} was given up for {name} before it expired",
                (int(life.settled.line[at]), None),
                log.events.place(offset - log.events.base),
            )


def _healthy_times(case: Case) -> dict[tuple[str, str], list[tuple[Sight, Sight]]]:
    """Each "healthy" on, with its off, by topic and group."""
    begun: dict[tuple[str, str], Sight] = {}
    times: dict[tuple[str, str], list[tuple[Sight, Sight]]] = {}
    for sight in case.tables.seen("healthy"):
        key = sight.seen["topic"], sight.seen["group"]
        if sight.seen["on"]:
            begun[key] = sight
        elif key in begun:
            times.setdefault(key, []).append((begun.pop(key), sight))
    return times


def _check_bound(
    log: PartitionLog, first_sent: Int64s, begin: Sight, end: Sight, verdict: Verdict
) -> None:
    bound = begin.seen["bound_ms"]
    events, rows = log.events, log.events.rows()
    at = events.at(rows["offset"])
    ready = np.maximum(np.maximum(events.due_now[at], events.ts[at]), events.moved_ts[at])
    meant = (ready >= begin.wall_ms) & (ready < end.wall_ms - bound)
    meant &= events.cancelled_line[at] == NEVER
    # What fired before the log begins now has no position any more.
    meant &= events.fired_line[at] != 0
    meant &= (events.expires[at] == NONE) | (events.expires[at] > ready + bound)
    late = meant & (first_sent[at] > ready + bound)  # also what never was sent
    verdict.judge("I4", "events bounded", int(meant.sum()))
    verdict.violate_rows(
        "I4",
        rows,
        late,
        lambda i: (
            f"{log.name} offset {rows['offset'][i]} was due at {ready[i]} and not sent within"
            f" {bound} ms, though all was well"
        ),
        lambda _: [(begin.line, None), (end.line, None)],
    )


def _first_sent(deliveries: Rows, positions: Int64s) -> Int64s:
    """When each position was sent first; NEVER if it was not."""
    order = np.lexsort((deliveries["sent_ms"], deliveries["position"]))
    known, sent = deliveries["position"][order], deliveries["sent_ms"][order]
    if not len(known):
        return np.full(len(positions), NEVER)
    at = np.minimum(np.searchsorted(known, positions), len(known) - 1)
    return np.where((known[at] == positions) & (positions != NONE), sent[at], NEVER)

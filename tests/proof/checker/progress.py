"""I7: a cursor never goes back and never passes what is unsettled. I8: an ack is for good."""

from __future__ import annotations

import numpy as np

from tests.proof.checker.case import Case
from tests.proof.checker.columns import NEVER, NONE, Int64s, Rows, mixed
from tests.proof.checker.intake_log import REASONS
from tests.proof.checker.logs import Life, PartitionLog
from tests.proof.checker.tables import FAIL, OK, Operation
from tests.proof.checker.verdict import Verdict


def check_progress(case: Case, verdict: Verdict) -> None:
    """Every cursor that was read, and every position that a log says was acked."""
    reads = [one for one in case.tables.asked("group") if one.ok]
    for one in reads:
        for partition, low in zip(one.ret["partition"], one.ret["low"], strict=True):
            _check_read(case, one, partition, low, verdict)
    _check_monotone(case, reads, verdict)
    asked = case.tables.acked.where(case.tables.acked["outcome"] != FAIL)
    backed = np.unique(mixed(asked["log"], asked["group"], asked["position"]))
    for log in case.logs.values():
        for group, lives in log.lives.items():
            for life in lives:
                _check_backed(case, log, group, life, backed=backed, verdict=verdict)


def _check_read(case: Case, one: Operation, partition: int, low: int, verdict: Verdict) -> None:
    """A cursor is what the log makes of it, somewhere between what is known and what is possible."""
    number = case.tables.log(one.args["topic"], partition)
    log = case.logs.get(number)
    if log is None or log.first_offset or log.first_position:
        return
    least, most = case.brackets[number].reach(one.call.t_ns, one.t_ret, one.wall_ret)
    lives = log.lives.get(case.tables.groups.number(one.args["group"]), [])
    possible = [life for life in lives if life.line <= most and life.until_line > least]
    if not possible:
        return
    verdict.judge("I7", "cursors read", 1)
    wanted = [(life.low(least), life.low(most)) for life in possible]
    if not any(lowest <= low <= highest for lowest, highest in wanted):
        verdict.violate(
            "I7",
            f"{log.name}: the cursor of {one.args['group']} was read as {low}, and the log says it was"
            f" {' or '.join(f'{a} to {b}' for a, b in wanted)}",
            (one.line, None),
        )


def _check_monotone(case: Case, reads: list[Operation], verdict: Verdict) -> None:
    """Of two reads one after the other, the later is no lower, unless the group was reset."""
    resets = [
        one
        for f in ("reset_group", "delete_group")
        for one in case.tables.asked(f)
        if not one.args.get("dry_run")
    ]
    #: Per place: what finished reads said, as (returned, low, line), lows growing.
    last: dict[tuple[str, str, int], tuple[int, int, int]] = {}
    for one in sorted(reads, key=lambda read: read.t_ret):
        for partition, low in zip(one.ret["partition"], one.ret["low"], strict=True):
            place = (one.args["topic"], one.args["group"], partition)
            t_ret, before, line = last.get(place, (NONE, low, 0))
            verdict.judge("I7", "cursors compared", int(t_ret != NONE))
            free = any(
                (reset.args["topic"], reset.args["group"]) == place[:2]
                and reset.t_ret > t_ret
                and reset.call.t_ns < one.t_ret
                for reset in resets
            )
            if low < before and t_ret < one.call.t_ns and not free:
                verdict.violate(
                    "I7",
                    f"{place[0]}/{partition}: the cursor of {place[1]} went back from {before} to {low}",
                    (line, None),
                    (one.line, None),
                )
            if low >= before or free:
                last[place] = (one.t_ret, low, one.line)


def _check_backed(
    case: Case, log: PartitionLog, group: int, life: Life, *, backed: Int64s, verdict: Verdict
) -> None:
    """No position counts as acked that nobody asked to ack."""
    acked = np.flatnonzero(life.settled.reason == REASONS["acked"])
    positions = acked + life.start
    verdict.judge("I7", "settled positions", len(positions))
    size = len(positions)
    keys = mixed(np.full(size, log.number), np.full(size, group), positions)
    name = case.tables.groups.all[group]
    if name.startswith("chronos."):  # the node's own: it settles dead letters for redrive and purge
        return
    for i in np.flatnonzero(~np.isin(keys, backed)).tolist():
        verdict.violate(
            "I7",
            f"{log.name} position {positions[i]} is settled for {name}, and nobody acked it",
            (int(life.settled.line[acked[i]]), None),
        )


def check_settled(case: Case, verdict: Verdict) -> None:
    """Every confirmed ack, and every delivery that came after one."""
    acked = case.tables.acked.where(case.tables.acked["outcome"] == OK)
    for log, rows in case.by_log(acked):
        for group, own in rows.by("group").items():
            for life in log.lives.get(group, [])[-1:]:
                _check_durable(log, own, life, verdict)
    delivered = case.tables.delivered.all()
    for log, rows in case.by_log(delivered):
        for group, own in rows.by("group").items():
            for life in log.lives.get(group, []):
                _check_silent(case, log, own, life, verdict)
    _check_silent_to_clients(case, acked, delivered, verdict)
    _check_letters(case, verdict)


def _check_durable(log: PartitionLog, rows: Rows, life: Life, verdict: Verdict) -> None:
    # What was sent before a group began again does not count.
    own = rows.where((rows["wall_call"] > life.ts) & (rows["position"] >= life.start))
    own = own.where(own["position"] >= log.first_position)
    verdict.judge("I8", "confirmed acks", len(own))
    at = own["position"] - life.start
    inside = at < len(life.settled.ts)
    lost = ~inside
    lost[inside] = life.settled.ts[at[inside]] == NEVER
    verdict.violate_rows(
        "I8",
        own,
        lost,
        lambda i: f"{log.name} position {own['position'][i]} was acked, and the log has no SETTLE",
    )


def _check_silent(case: Case, log: PartitionLog, rows: Rows, life: Life, verdict: Verdict) -> None:
    """Nothing is sent after the record that settles it."""
    slack = case.tables.slack_ms()
    own = rows.where(
        (rows["sent_ms"] > life.ts + slack)
        & (rows["sent_ms"] < life.until_ts)
        & (rows["position"] >= life.start)
        & (rows["position"] < life.start + len(life.settled.ts))
    )
    settled = life.settled.ts[own["position"] - life.start]
    late = (settled != NEVER) & (own["sent_ms"] > np.where(settled == NEVER, 0, settled) + slack)
    verdict.judge("I8", "deliveries", len(own))
    verdict.violate_rows(
        "I8",
        own,
        late,
        lambda i: (
            f"{log.name} position {own['position'][i]} was sent at {own['sent_ms'][i]}, and was"
            f" settled at {settled[i]}"
        ),
        lambda i: [(int(life.settled.line[own["position"][i] - life.start]), None)],
    )


def _check_silent_to_clients(case: Case, acked: Rows, delivered: Rows, verdict: Verdict) -> None:
    """Without a log: nothing is sent after its ack was confirmed. For groups that are never reset."""
    reset = {(one.args["topic"], one.args["group"]) for one in case.tables.asked("reset_group")}
    rows = delivered.where(~np.isin(delivered["log"], np.array([*case.logs], dtype=np.int64)))
    if not len(rows) or reset:
        return
    confirmed = mixed(acked["log"], acked["group"], acked["position"])
    order = np.lexsort((acked["wall_ret"], confirmed))
    keys, first = np.unique(confirmed[order], return_index=True)
    times = acked["wall_ret"][order][first]
    wanted = mixed(rows["log"], rows["group"], rows["position"])
    at = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
    known = keys[at] == wanted if len(keys) else np.zeros(len(rows), dtype=np.bool_)
    late = known.copy()
    late[known] = rows["sent_ms"][known] > times[at[known]] + case.tables.slack_ms()
    verdict.judge("I8", "deliveries", len(rows))
    verdict.violate_rows(
        "I8",
        rows,
        late,
        lambda i: f"{case.at(rows, i)} position {rows['position'][i]} was sent after its ack",
    )


def _check_letters(case: Case, verdict: Verdict) -> None:
    """What is settled as dead-lettered has its letter."""
    letters: set[tuple[int, str, int]] = case.tables.letters
    for log in case.logs.values():
        for group, lives in log.lives.items():
            name = case.tables.groups.all[group]
            for life in lives:
                dead = np.flatnonzero(life.settled.reason == REASONS["dead_lettered"])
                # What fired before the log begins now has lost its offset with its FIRE record.
                dead = dead[dead + life.start >= log.first_position]
                offsets = log.at_position(dead + life.start)
                verdict.judge("I8", "dead letters", len(dead))
                for offset, at in zip(offsets.tolist(), dead.tolist(), strict=True):
                    if (log.number, name, offset) not in letters:
                        verdict.violate(
                            "I8",
                            f"{log.name} offset {offset} was given up for {name}, and has no letter",
                            (int(life.settled.line[at]), None),
                        )

"""I12: a replay gives exactly the committed events of its range, in order, none twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.proof.checker.case import Case
from tests.proof.checker.columns import NEVER, NONE, Int64s, Mask, Rows
from tests.proof.checker.logs import PartitionLog
from tests.proof.checker.tables import Operation
from tests.proof.checker.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Chain:
    """A replay and those that went on behind it."""

    calls: list[Operation]
    items: Rows

    @property
    def line(self) -> int:
        """Where it began."""
        return self.calls[0].line

    @property
    def whole(self) -> bool:
        """Whether it came to its end."""
        return self.calls[-1].ok


def check_replays(case: Case, verdict: Verdict) -> None:
    """Each chain of replays, partition by partition."""
    for chain in _chains(case):
        args = chain.calls[0].args
        if args["follow"] or args["key"] is not None:
            continue  # not bounded by what was committed when it began; not what the log is ordered by
        verdict.judge("I12", "replays" if chain.whole else "replays cut short", 1)
        verdict.judge("I12", "events", len(chain.items))
        _check_twice(case, chain, verdict)
        _check_merged(chain, verdict)
        for log in case.logs_of(args["topic"]):
            own = chain.items.where(chain.items["log"] == log.number)
            if args["partition"] in {None, case.partition(log)}:
                _check_one(case, chain, log, own, verdict)


def _chains(case: Case) -> Iterator[Chain]:
    items = case.tables.replayed.all().by("n")
    none = case.tables.replayed.none()
    chains: dict[int, list[Operation]] = {}
    for one in case.tables.asked("replay"):
        calls = chains.pop(one.args.get("behind", 0), [])
        chains[one.call.n] = [*calls, one]
    for calls in chains.values():
        parts = [items.get(one.call.n, none) for one in calls]
        yield Chain(calls, parts[0].joined(parts[1:]))


def _check_twice(case: Case, chain: Chain, verdict: Verdict) -> None:
    items = chain.items
    order = np.lexsort((items["line"], items["offset"], items["log"]))
    rows = items.where(order)
    same = (rows["offset"][1:] == rows["offset"][:-1]) & (rows["log"][1:] == rows["log"][:-1])
    verdict.violate_rows(
        "I12",
        rows,
        np.concatenate([[False], same]) if len(rows) else same,
        lambda i: f"{case.at(rows, i)} offset {rows['offset'][i]} came twice in one replay",
        lambda _: [(chain.line, None)],
    )


def _check_merged(chain: Chain, verdict: Verdict) -> None:
    """Over all partitions the order is that of the time it goes by."""
    times = {"published": "published_ms", "fired": "fired_ms", "scheduled": "due"}
    name = times.get(chain.calls[0].args["by"])
    if name is not None and len(chain.items):
        column = chain.items[name]
        verdict.violate_rows(
            "I12",
            chain.items,
            column < np.maximum.accumulate(column),
            lambda _: f"an event came after one of a later time ({name})",
            lambda _: [(chain.line, None)],
        )


def _check_one(case: Case, chain: Chain, log: PartitionLog, own: Rows, verdict: Verdict) -> None:
    first = chain.calls[0]
    least, _ = case.brackets[log.number].reach(first.call.t_ns, first.t_ret, first.wall_ret)
    most = max(
        case.brackets[log.number].reach(one.call.t_ns, one.t_ret, one.wall_ret)[1]
        for one in chain.calls
    )
    must, may = _expected(log, first, least, most)
    offsets = np.arange(log.events.base, log.events.stop)
    _check_order(chain, log, own, verdict)
    got = np.isin(offsets, own["offset"])
    # Of what was before the log's beginning, the log does not say what a replay of then had to give.
    must, may = must & (offsets >= log.first_offset), may | (offsets < log.first_offset)
    for offset in offsets[got & ~may].tolist():
        verdict.violate(
            "I12",
            f"{log.name} offset {offset} is not in the range of the replay, or was not committed",
            (chain.line, None),
        )
    for offset in offsets[must & ~got & _reached(chain, log, own)].tolist():
        verdict.violate(
            "I12", f"{log.name} offset {offset} is missing in a replay", (chain.line, None)
        )


def _expected(log: PartitionLog, first: Operation, least: int, most: int) -> tuple[Mask, Mask]:
    """Which offsets must come, and which may, wherever between the two lines the cut was."""
    args, events = first.args, log.events
    by = args["by"]
    begun = events.fired_line if by == "fired" else events.line
    inside, perhaps = _in_range(log, args, least, most)
    must = (begun <= least) & inside & (events.line != NEVER)
    may = (begun <= most) & perhaps & (events.line != NEVER)
    if by == "scheduled":
        must &= events.cancelled_line > most
        may &= events.cancelled_line > least
    return must, may


def _in_range(
    log: PartitionLog, args: dict[str, int | None], least: int, most: int
) -> tuple[Mask, Mask]:
    """Which offsets are in the range for sure, and perhaps."""
    events = log.events
    columns: dict[str, Int64s] = {
        "offset": np.arange(events.base, events.stop),
        "published": events.ts,
        "fired": events.fired_ts,
    }
    low = NONE if args["start"] is None else args["start"]
    high = NEVER if args["end"] is None else args["end"]
    by = str(args["by"])
    if by in columns:
        inside = (columns[by] >= low) & (columns[by] < high)
        return inside, inside
    sure = np.ones(len(events.line), dtype=np.bool_)
    perhaps = np.zeros(len(events.line), dtype=np.bool_)
    for dues, possible in _dues(log, least, most):
        inside = (dues >= low) & (dues < high)
        sure &= inside | ~possible
        perhaps |= inside & possible
    return sure & perhaps, perhaps


def _dues(log: PartitionLog, least: int, most: int) -> Iterator[tuple[Int64s, Mask]]:
    """Due times that offsets may have had between the two lines, and of which offsets."""
    events, moved = log.events, log.parts.moved
    before = events.due.copy()
    past = moved.where((moved["line"] <= least) & events.holds(moved["offset"]))
    before[events.at(past["offset"])] = past["due"]
    yield before, np.ones(len(before), dtype=np.bool_)
    for line in np.unique(moved["line"][(moved["line"] > least) & (moved["line"] <= most)]):
        some = moved.where((moved["line"] == line) & events.holds(moved["offset"]))
        then, possible = before.copy(), np.zeros(len(before), dtype=np.bool_)
        at = events.at(some["offset"])
        then[at], possible[at] = some["due"], True
        yield then, possible


def _check_order(chain: Chain, log: PartitionLog, own: Rows, verdict: Verdict) -> None:
    by = chain.calls[0].args["by"]
    order = {"scheduled": ("due", "offset"), "fired": ("position",)}.get(by, ("offset",))
    if len(own) < 2:
        return
    keys = [own[name] for name in order]
    back = keys[0][1:] < keys[0][:-1]
    if len(keys) > 1:
        back |= (keys[0][1:] == keys[0][:-1]) & (keys[1][1:] < keys[1][:-1])
    verdict.violate_rows(
        "I12",
        own,
        np.concatenate([[False], back]),
        lambda i: f"{log.name} offset {own['offset'][i]} came out of order ({by})",
        lambda _: [(chain.line, None)],
    )


def _reached(chain: Chain, log: PartitionLog, own: Rows) -> Mask:
    """Of a replay that was cut short, only what lies before its last event can be missing."""
    events = log.events
    if chain.whole:
        return np.ones(len(events.line), dtype=np.bool_)
    if not len(own):
        return np.zeros(len(events.line), dtype=np.bool_)
    every = np.arange(events.base, events.stop)
    by = chain.calls[0].args["by"]
    if by == "fired":
        reached: Mask = (events.position != NONE) & (events.position < own["position"].max())
    elif by == "scheduled":
        reached = (events.due < own["due"].max()) & ~np.isin(every, log.parts.moved["offset"])
    else:
        reached = every < own["offset"].max()
    return reached

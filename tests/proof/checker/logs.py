"""A partition as its log tells it: what happened to each offset, each position, and each group."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from tests.proof.checker.columns import NEVER, NONE, Int64s, Rows, positions_of
from tests.proof.checker.intake_log import STATED
from tests.proof.checker.tables import Tables
from tests.proof.checker.verdict import Place

#: In the place of a group's first position: the group is no more.
_ENDED: Final = -1


@dataclass(frozen=True, slots=True)
class Settled:
    """For each position from `start` on: time, line and reason of its SETTLE record (NEVER: none)."""

    ts: Int64s
    line: Int64s
    reason: Int64s
    start: int

    def fill(self, runs: Rows, reasons: Int64s) -> None:
        """These runs were settled; the first time counts."""
        positions, which = positions_of(runs["start"], runs["stop"])
        keep = (positions >= self.start) & (positions < self.start + len(self.ts))
        at, which = positions[keep][::-1] - self.start, which[keep][::-1]
        self.ts[at], self.line[at] = runs["ts"][which], runs["line"][which]
        self.reason[at] = reasons[which]


@dataclass(frozen=True, slots=True)
class Life:
    """A group from one GROUP record to the next."""

    #: Everything below counts as settled.
    start: int
    #: Time and line of its GROUP record, and of the one that ended it.
    ts: int
    line: int
    until_ts: int
    until_line: int
    settled: Settled
    #: For each position, the line at which it and all before it were settled. Grows.
    passed_line: Int64s

    def low(self, line: int) -> int:
        """The cursor after all records up to a line."""
        return self.start + int(np.searchsorted(self.passed_line, line, side="right"))


class Events:
    """Columns by offset. What did not happen has line NEVER; lines grow along the log."""

    def __init__(self, stored: Rows, carried: Rows, base: int, stop: int) -> None:
        size = max(0, stop - base)
        self.base = base
        self.stop = stop
        #: Of its PUBLISH; 0 if that was before the log begins now.
        self.line = np.full(size, NEVER)
        #: The line and row that tell of it.
        self.told = np.full(size, NEVER)
        self.row = np.zeros(size, dtype=np.int64)
        self.id = np.full(size, NONE)
        self.content = np.full(size, NONE)
        self.ts = np.full(size, NONE)
        #: As published.
        self.due = np.full(size, NONE)
        self.relative = np.zeros(size, dtype=np.int64)
        self.expires = np.full(size, NONE)
        self.position = np.full(size, NONE)
        self.fired_line = np.full(size, NEVER)
        self.fired_ts = np.full(size, NEVER)
        self.fired_due = np.full(size, NONE)
        self.cancelled_line = np.full(size, NEVER)
        #: After the last move, and when that was.
        self.due_now = np.full(size, NONE)
        self.moved_ts = np.full(size, NONE)
        # Backwards: of several rows about an offset, the first counts.
        for rows, now in ((carried, "due_now"), (stored, "due")):
            order = np.arange(len(rows))[::-1]
            at = rows["offset"][order] - base
            for name in ("row", "id", "content", "ts", "due", "relative", "expires"):
                getattr(self, name)[at] = rows[name][order]
            self.told[at] = rows["line"][order]
            self.due_now[at] = rows[now][order]
        self.line[carried["offset"] - base] = 0
        self.line[stored["offset"] - base] = stored["line"]
        # What was not pending when it was carried has fired; perhaps before the log begins now.
        self.fired_line[carried["offset"][carried["pending"] == 0] - base] = 0

    def rows(self) -> Rows:
        """Every event that the log holds, in offset order."""
        at = np.flatnonzero(self.line != NEVER)
        return Rows({"line": self.told[at], "row": self.row[at], "offset": at + self.base})

    def place(self, at: int) -> Place:
        """The line that tells of one."""
        return int(self.told[at]), int(self.row[at])

    def holds(self, offsets: Int64s) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which of these offsets are in the log."""
        inside = (offsets >= self.base) & (offsets < self.stop)
        at = np.where(inside, offsets - self.base, 0)
        if not len(self.line):
            return inside
        found: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = inside & (self.line[at] != NEVER)
        return found

    def at(self, offsets: Int64s) -> Int64s:
        """Indices of offsets that are held."""
        return offsets - self.base


class PartitionLog:
    """See above."""

    def __init__(
        self, number: int, name: str, parts: LogRows, begin: tuple[int, int], end: tuple[int, int]
    ) -> None:
        self.number = number
        self.name = name
        self.parts = parts
        self.first_offset, self.first_position = begin
        self.end_offset, self.end_position = end
        offsets = np.concatenate([parts.stored["offset"], parts.carried["offset"]])
        base = int(offsets.min()) if len(offsets) else self.first_offset
        stop = int(offsets.max()) + 1 if len(offsets) else self.first_offset
        self.events = Events(parts.stored, parts.carried, base, stop)
        self.offset_at = np.full(max(0, self.end_position - self.first_position), NONE)
        self._fire()
        self._change()
        self.lives = {group: list(self._lives(group)) for group in self._groups()}

    @cached_property
    def _by_id(self) -> tuple[Int64s, Int64s]:
        """The ids in order, and which event has each; of one id, the oldest first."""
        order = np.argsort(self.events.id, kind="stable")
        return self.events.id[order], order

    def records_of(self, message_id: int, least: int = NONE, most: int = NEVER) -> list[int]:
        """The events (indices) that an id stood for at some place of the log from `least` to `most`."""
        ids, order = self._by_id
        first, last = np.searchsorted(ids, message_id), np.searchsorted(ids, message_id, "right")
        found = [i for i in order[first:last].tolist() if self.events.line[i] <= most]
        superseded = [i for i in found if self.events.line[i] <= least][:-1]
        return found[len(superseded) :]

    def at_position(self, positions: Int64s) -> Int64s:
        """The offsets at positions; NONE where the log does not say."""
        inside = (positions >= self.first_position) & (positions < self.end_position)
        at = np.where(inside, positions - self.first_position, 0)
        if not len(self.offset_at):
            return np.full(len(positions), NONE)
        return np.where(inside, self.offset_at[at], NONE)

    def _fire(self) -> None:
        fired, events = self.parts.fired, self.events
        known = events.holds(fired["offset"])
        inside = (fired["position"] >= self.first_position) & (
            fired["position"] < self.end_position
        )
        self.offset_at[fired["position"][inside] - self.first_position] = fired["offset"][inside]
        rows = fired.where(known)
        # Of an event that fired twice, the first time counts; that it did is somebody else's matter.
        rows = rows.where(np.arange(len(rows))[::-1])
        at = events.at(rows["offset"])
        events.position[at] = rows["position"]
        events.fired_line[at] = rows["line"]
        events.fired_ts[at] = rows["ts"]
        events.fired_due[at] = rows["due"]

    def _change(self) -> None:
        events, cancelled, moved = self.events, self.parts.cancelled, self.parts.moved
        some = cancelled.where(events.holds(cancelled["offset"]))
        events.cancelled_line[events.at(some["offset"])] = some["line"]
        others = moved.where(events.holds(moved["offset"]))
        events.due_now[events.at(others["offset"])] = others["due"]  # the last one stays
        events.moved_ts[events.at(others["offset"])] = others["ts"]

    def _groups(self) -> list[int]:
        known = np.concatenate([self.parts.begun["group"], self.parts.stated["group"]])
        return [int(group) for group in np.unique(known)]

    def _lives(self, group: int) -> list[Life]:
        begun = self.parts.begun.where(self.parts.begun["group"] == group)
        settled = self.parts.settled.where(self.parts.settled["group"] == group)
        stated = self.parts.stated.where(self.parts.stated["group"] == group)
        births = [
            (int(start), int(line), int(ts))
            for start, line, ts in zip(begun["position"], begun["line"], begun["ts"], strict=True)
        ]
        if len(stated) and (not births or births[0][1] > stated["line"][0]):
            # It began before the log does now: a GROUPS record says how it stood.
            births.insert(0, (int(stated["low"][0]), 0, int(stated["since"][0])))
            stated = stated.where(stated["line"] == stated["line"][0])
        else:
            stated = stated.where(np.zeros(0, dtype=np.int64))
        deaths = [(line, ts) for _, line, ts in births[1:]] + [(NEVER, NEVER)]
        return [
            self._life(birth, death, settled, stated if birth[1] == 0 else None)
            for birth, death in zip(births, deaths, strict=True)
            if birth[0] != _ENDED
        ]

    def _life(
        self,
        birth: tuple[int, int, int],
        death: tuple[int, int],
        settled: Rows,
        stated: Rows | None,
    ) -> Life:
        start, line, ts = birth
        own = settled.where((settled["line"] > line) & (settled["line"] < death[0]))
        size = max(0, self.end_position - start)
        columns = Settled(np.full(size, NEVER), np.full(size, NEVER), np.full(size, NONE), start)
        if stated is not None:
            columns.fill(stated, np.full(len(stated), STATED))
        columns.fill(own, own["reason"])
        passed = np.maximum.accumulate(columns.line) if size else columns.line
        return Life(start, ts, line, death[1], death[0], columns, passed)


@dataclass(frozen=True, slots=True)
class LogRows:
    """The table rows of one log."""

    stored: Rows
    fired: Rows
    cancelled: Rows
    moved: Rows
    settled: Rows
    begun: Rows
    carried: Rows
    stated: Rows


def read_logs(tables: Tables) -> dict[int, PartitionLog]:
    """Every log that was dumped to its end, by its number."""
    names = ("stored", "fired", "cancelled", "moved", "settled", "begun", "carried", "stated")
    split = {name: getattr(tables, name).all().by("log") for name in names}
    empty = {name: getattr(tables, name).none() for name in names}
    logs: dict[int, PartitionLog] = {}
    for number, end in tables.ends.items():
        parts = LogRows(**{name: split[name].get(number, empty[name]) for name in names})
        begin = tables.begins.get(number, end).seen
        logs[number] = PartitionLog(
            number,
            tables.log_name(number),
            parts,
            (begin["offset"], begin["position"]),
            (end.seen["offset"], end.seen["position"]),
        )
    return logs

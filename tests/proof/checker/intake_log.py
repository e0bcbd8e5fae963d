"""The lines of a dumped log into tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from tests.proof.checker.columns import NONE, numbers
from tests.proof.checker.tables import Sight, Tables

REASONS: Final = {"acked": 0, "dead_lettered": 1, "expired": 2, "purged": 3}
#: The id of an event that a recurring schedule made: name, generation, occurrence.
OCCURRENCE: Final = re.compile(r"[^/]+/\d+/\d+")
#: Settled, as a GROUPS record says, which does not say why.
STATED: Final = 4


def take_log(tables: Tables, sight: Sight) -> None:
    """One record, or a log's begin or end."""
    log = tables.log(sight.seen["topic"], sight.seen["partition"])
    what = sight.seen["what"]
    if what == "begin":
        tables.begins[log] = sight
    elif what == "end":
        tables.ends[log] = sight
    elif what in _RECORDS:
        _RECORDS[what](tables, sight, log)


def _publish(tables: Tables, sight: Sight, log: int) -> None:
    seen = sight.seen
    first, rows = seen["first"], len(seen["id"])
    _occurrences(tables, sight, log)
    tables.stored.add(
        rows, offset=range(first, first + rows), ts=seen["ts_ms"], **_events(tables, sight, log)
    )


def _occurrences(tables: Tables, sight: Sight, log: int) -> None:
    """The events of recurring schedules among those that are stored."""
    seen = sight.seen
    for row, message_id in enumerate(seen["id"]):
        if OCCURRENCE.fullmatch(message_id):
            series, _, occurrence = message_id.rpartition("/")
            tables.occurred.add(
                1,
                line=sight.line,
                row=row,
                log=log,
                offset=seen["first"] + row,
                name=hash(series.rpartition("/")[0]),
                series=hash(series),
                occurrence=int(occurrence),
                due=seen["due"][row],
                content=hash(seen["content"][row]),
            )


def _carry(tables: Tables, sight: Sight, log: int) -> None:
    seen = sight.seen
    tables.carried.add(
        len(seen["id"]),
        offset=seen["offset"],
        ts=seen["published_ms"],
        due_now=seen["due_now"],
        pending=seen["pending"],
        **_events(tables, sight, log),
    )


def _events(tables: Tables, sight: Sight, log: int) -> dict[str, Any]:
    seen = sight.seen
    rows = len(seen["id"])
    letters = seen.get("letter", [None] * rows)
    tables.letters.update(
        (tables.log(letter["topic"], letter["partition"]), letter["group"], letter["offset"])
        for letter in letters
        if letter is not None
    )
    return {
        "line": sight.line,
        "row": range(rows),
        "log": log,
        "id": list(map(hash, seen["id"])),
        "due": seen["due"],
        "content": list(map(hash, seen["content"])),
        "relative": seen.get("relative", 0),
        "expires": numbers(seen["expires"]) if "expires" in seen else NONE,
        "letter": [
            int(
                letter is not None
                or name.startswith("redrive-")
                or OCCURRENCE.fullmatch(name) is not None
            )
            for letter, name in zip(letters, seen["id"], strict=True)
        ],
    }


def _groups(tables: Tables, sight: Sight, log: int) -> None:
    seen = sight.seen
    columns = (seen["group"], seen["low"], seen["above"], seen["since_ms"])
    for name, low, above, since_ms in zip(*columns, strict=True):
        runs = [(low, low), *above]
        tables.stated.add(
            len(runs),
            line=sight.line,
            row=range(len(runs)),
            log=log,
            group=tables.groups.number(name),
            low=low,
            start=[start for start, _ in runs],
            stop=[stop for _, stop in runs],
            since=since_ms,
            ts=seen["ts_ms"],
        )


def _fire(tables: Tables, sight: Sight, log: int) -> None:
    seen = sight.seen
    rows = len(seen["offset"])
    tables.fired.add(
        rows,
        line=sight.line,
        row=range(rows),
        log=log,
        position=range(seen["first"], seen["first"] + rows),
        offset=seen["offset"],
        due=seen["due"],
        ts=seen["ts_ms"],
    )


def _cancel(tables: Tables, sight: Sight, log: int) -> None:
    offsets = sight.seen["offset"]
    rows = len(offsets)
    tables.cancelled.add(
        rows, line=sight.line, row=range(rows), log=log, offset=offsets, ts=sight.seen["ts_ms"]
    )


def _move(tables: Tables, sight: Sight, log: int) -> None:
    seen = sight.seen
    rows = len(seen["offset"])
    tables.moved.add(
        rows,
        line=sight.line,
        row=range(rows),
        log=log,
        offset=seen["offset"],
        due=seen["due"],
        ts=seen["ts_ms"],
    )


def _settle(tables: Tables, sight: Sight, log: int) -> None:
    seen = sight.seen
    rows = len(seen["runs"])
    tables.settled.add(
        rows,
        line=sight.line,
        row=range(rows),
        log=log,
        group=tables.groups.number(seen["group"]),
        start=[start for start, _ in seen["runs"]],
        stop=[stop for _, stop in seen["runs"]],
        reason=REASONS[seen["reason"]],
        ts=seen["ts_ms"],
    )


def _group(tables: Tables, sight: Sight, log: int) -> None:
    tables.begun.add(
        1,
        line=sight.line,
        row=0,
        log=log,
        group=tables.groups.number(sight.seen["group"]),
        position=sight.seen["position"],
        ts=sight.seen["ts_ms"],
    )


def _epoch(tables: Tables, sight: Sight, log: int) -> None:
    tables.epochs.add(
        1, line=sight.line, row=0, log=log, epoch=sight.seen["epoch"], ts=sight.seen["ts_ms"]
    )


_RECORDS: Final[dict[str, Callable[[Tables, Sight, int], None]]] = {
    "publish": _publish,
    "fire": _fire,
    "cancel": _cancel,
    "move": _move,
    "settle": _settle,
    "group": _group,
    "epoch": _epoch,
    "carry": _carry,
    "groups": _groups,
}

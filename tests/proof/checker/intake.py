"""Lines into tables: calls are joined with their returns, columns are taken as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from tests.proof.checker.columns import NONE, numbers
from tests.proof.checker.intake_copies import take_copy, take_trace
from tests.proof.checker.intake_log import take_log
from tests.proof.checker.tables import ANSWERS, OK, Operation, Sight, Tables
from tests.proof.history import Line

#: Calls that are many: their rows are kept, not their lines.
_ROWS_ONLY: Final = frozenset({"publish", "ack", "nack", "extend", "get", "cancel", "reschedule"})


def read_tables(lines: Iterable[Line]) -> Tables:
    """Everything that a history tells."""
    tables = Tables()
    open_calls: dict[int, tuple[int, Line]] = {}
    for number, line in enumerate(lines, 1):
        tables.lines = number
        tables.end_t_ns, tables.end_wall_ms = line.t_ns, line.wall_ms
        if number == 1:
            tables.begin = line.t_ns, line.wall_ms
        if line.args is not None:
            open_calls[line.n] = (number, line)
        elif line.outcome is not None:
            at, call = open_calls.pop(line.n)
            _take_operation(tables, Operation(at, call, line))
        else:
            _take_sight(tables, number, line)
    for at, call in open_calls.values():
        operation = Operation(at, call, None)
        tables.stuck.append(operation)
        _take_operation(tables, operation)
    return tables


def _take_operation(tables: Tables, operation: Operation) -> None:
    f = operation.call.f
    if f in _OPERATIONS:
        _OPERATIONS[f](tables, operation)
    if f not in _ROWS_ONLY:
        tables.operations.setdefault(f, []).append(operation)


def _take_sight(tables: Tables, number: int, line: Line) -> None:
    seen = line.seen or {}
    sight = Sight(number, line.t_ns, line.wall_ms, line.f, line.proc, seen)
    if line.f == "deliver":
        _deliver(tables, sight)
    elif line.f == "replayed":
        _replayed(tables, sight)
    elif line.f == "log":
        take_log(tables, sight)
    elif line.f == "copy":
        take_copy(tables, sight)
    elif line.f == "trace":
        take_trace(tables, sight)
    elif line.f == "settings":
        tables.defaults.update(seen)
    else:
        tables.sights.append(sight)


def _asked(operation: Operation, rows: int) -> dict[str, Any]:
    return {
        "line": operation.line,
        "row": range(rows),
        "t_call": operation.call.t_ns,
        "t_ret": operation.t_ret,
        "wall_call": operation.call.wall_ms,
        "wall_ret": operation.wall_ret,
        "outcome": operation.outcome,
    }


def _publish(tables: Tables, operation: Operation) -> None:
    args, ret = operation.args, operation.ret
    rows = len(args["id"])
    base = tables.log(args["topic"], 0)
    error = operation.answer.error if operation.answer else ""
    tables.published.add(
        rows,
        **_asked(operation, rows),
        topic=tables.topics.number(args["topic"]),
        log=[base + partition for partition in ret["partition"]] if ret else NONE,
        id=list(map(hash, args["id"])),
        content=list(map(hash, args["content"])),
        due=numbers(args["due"]),
        relative=args.get("relative", 0),
        expires=numbers(args["expires"]) if "expires" in args else NONE,
        offset=ret["offset"] if ret else NONE,
        duplicate=ret["duplicate"] if ret else 0,
        conflict=int(error.startswith("conflict")),
    )


def _change(tables: Tables, operation: Operation) -> None:
    args = operation.args
    move = operation.call.f == "reschedule"
    due = args.get("due")
    tables.changed.add(
        1,
        **_asked(operation, 1),
        topic=tables.topics.number(args["topic"]),
        log=NONE,
        id=hash(args["id"]),
        move=int(move),
        due=NONE if due is None else due,
        answer=ANSWERS[operation.ret["outcome"]] if operation.ok else NONE,
    )


def _get(tables: Tables, operation: Operation) -> None:
    args, ret = operation.args, operation.ret
    found = operation.ok and ret["state"] is not None
    tables.got.add(
        1,
        **_asked(operation, 1),
        topic=tables.topics.number(args["topic"]),
        log=tables.log(args["topic"], ret["partition"]) if found else NONE,
        id=hash(args["id"]),
        answer=ANSWERS[ret["state"]] if operation.ok else NONE,
        offset=ret["offset"] if found else NONE,
        content=hash(ret["content"]) if found else NONE,
        due=ret["due"] if found else NONE,
    )


def _ack(tables: Tables, operation: Operation) -> None:
    args = operation.args
    rows = len(args["position"])
    base = tables.log(args["topic"], 0)
    tables.acked.add(
        rows,
        **_asked(operation, rows),
        log=[base + partition for partition in args["partition"]],
        group=tables.groups.number(args["group"]),
        position=args["position"],
    )


def _create_topic(tables: Tables, operation: Operation) -> None:
    if operation.outcome == OK:
        topic = tables.topics.number(operation.args["topic"])
        tables.partitions[topic] = operation.args.get("partitions", 1)
        tables.settings[topic] = operation.args.get("settings", {})


_OPERATIONS: Final[dict[str, Callable[[Tables, Operation], None]]] = {
    "publish": _publish,
    "cancel": _change,
    "reschedule": _change,
    "get": _get,
    "ack": _ack,
    "create_topic": _create_topic,
}


def _deliver(tables: Tables, sight: Sight) -> None:
    seen = sight.seen
    rows = len(seen["position"])
    base = tables.log(seen["topic"], 0)
    tables.delivered.add(
        rows,
        line=sight.line,
        row=range(rows),
        t=sight.t_ns,
        wall=sight.wall_ms,
        log=[base + partition for partition in seen["partition"]],
        group=tables.groups.number(seen["group"]),
        member=tables.procs.number(sight.proc),
        position=seen["position"],
        offset=seen["offset"],
        attempt=seen["attempt"],
        id=list(map(hash, seen["id"])),
        due=seen["due"],
        content=list(map(hash, seen["content"])),
        sent_ms=seen["sent_ms"],
    )


def _replayed(tables: Tables, sight: Sight) -> None:
    seen = sight.seen
    rows = len(seen["offset"])
    base = tables.log(seen["topic"], 0)
    tables.replayed.add(
        rows,
        line=sight.line,
        row=range(rows),
        n=seen["n"],
        log=[base + partition for partition in seen["partition"]],
        offset=seen["offset"],
        id=list(map(hash, seen["id"])),
        due=seen["due"],
        content=list(map(hash, seen["content"])),
        published_ms=seen["published_ms"],
        position=seen.get("position", NONE),
        fired_ms=seen.get("fired_ms", NONE),
    )

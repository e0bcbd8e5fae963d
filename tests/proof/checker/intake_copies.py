"""The lines about copies of a log, and about what their nodes said, into tables."""

from __future__ import annotations

from tests.proof.checker.tables import Sight, Tables


def take_copy(tables: Tables, sight: Sight) -> None:
    """Some records of one copy; the last line of a copy says where it begins and ends."""
    seen = sight.seen
    log, node = tables.log(seen["topic"], seen["partition"]), tables.procs.number(seen["node"])
    tables.copied.add(
        len(seen["lsn"]),
        line=sight.line,
        row=range(len(seen["lsn"])),
        log=log,
        node=node,
        lsn=seen["lsn"],
        epoch=seen["epoch"],
        sum=list(map(hash, seen["sum"])),
    )
    if "end" in seen:
        tables.copy_ends.setdefault(log, {})[node] = sight


def take_trace(tables: Tables, sight: Sight) -> None:
    """What a node says of its copy of a partition."""
    seen = sight.seen
    tables.traced.add(
        1,
        line=sight.line,
        row=0,
        log=tables.log(seen["topic"], seen["partition"]),
        node=tables.procs.number(sight.proc),
        life=tables.procs.number(f"{sight.proc} {seen['life']}"),
        epoch=seen["epoch"],
        leads=int(seen["leads"]),
        hw=seen["hw"],
    )

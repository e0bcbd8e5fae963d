"""What a second core brings: one process, and as many workers, with a client that costs next to nothing."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from bench.case import Case, Figures, Piece
from bench.lab import Lab, free_ports
from bench.load import Load, pending
from bench.node_process import NodeProcess, cpu_s
from bench.prepared import publish_prepared

PARTITIONS: Final = 8
ONE: Final = "1 process"


def piece(
    events: int = 200_000, callers: int = 32, batch: int = 1000, count: tuple[int, ...] = (2,)
) -> Piece:
    """One process, then each number of workers."""
    load = partial(_load, events, callers, batch)
    cases = [Case(ONE, partial(_measure, load, 1))]
    cases += [Case(f"{each} workers", partial(_measure, load, each)) for each in count]
    title = (
        f"workers: {PARTITIONS} partitions, frames of {batch:,} that were encoded before, {callers} in"
        " flight, fsync before ack"
    )
    columns = ("events/s", "busiest µs/event", "workers CPU µs/event", "client CPU µs/event")
    return Piece("workers", title, cases, 5, columns, ONE)


def _load(events: int, callers: int, batch: int) -> Load:
    load = pending("bench", events)
    return replace(load, batch=batch, callers=callers, partitions=PARTITIONS)


def _measure(load: partial[Load], workers: int, lab: Lab) -> Figures:
    work = load()
    with lab.home() as home, NodeProcess(home, _options(workers)) as node:
        them = _workers(node.pid) or [node.pid]
        before_s = [cpu_s(pid) for pid in them]
        spent = lab.run(publish_prepared, node.address, work)
        busy_s = [cpu_s(pid) - before for pid, before in zip(them, before_s, strict=True)]
        node.stop()  # in order: killed, it would leave workers that are about to end
    return {
        "events/s": work.count / spent.wall_s,
        "busiest µs/event": max(busy_s) / work.count * 1e6,
        "workers CPU µs/event": sum(busy_s) / work.count * 1e6,
        "client CPU µs/event": spent.cpu_s / work.count * 1e6,
        "workers": workers,
    }


def _options(workers: int) -> Sequence[str]:
    if workers == 1:
        return ()
    peers = f"127.0.0.1:{_free_row(workers)}"
    return ("--workers", str(workers), "--workers-port", "0", "--peer-listen", peers)


def _workers(supervisor: int) -> list[int]:
    """The processes that a supervisor started."""
    children = Path(f"/proc/{supervisor}/task").glob("*/children")
    return sorted(int(pid) for path in children for pid in path.read_text().split())


def _free_row(count: int) -> int:
    """The first of so many ports in a row that nobody listens on now."""
    while True:
        first = free_ports(1)[0]
        try:
            with ExitStack() as stack:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
        except (OSError, OverflowError):
            continue
        return first

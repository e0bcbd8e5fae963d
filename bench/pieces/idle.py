"""What a node costs that has nothing to do: many topics, and then many groups that wait for events."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import anyio

from bench.case import Case, Figures, Piece
from bench.lab import WORK_S_MAX, Lab
from bench.node_process import NodeProcess, cpu_s
from bench.stopwatch import Spent, Stopwatch
from chronosdb.client import connect

#: Longer than `checkpoint_interval`: by then what was created is in the views.
REST_S: Final = 75.0
#: CPU is counted over this time.
IDLE_S: Final = 10.0
#: Topics that are created at one time.
CALLERS: Final = 64


def piece(topics: tuple[int, ...] = (1000,), groups: int = 1000) -> Piece:
    """A case for each number of topics; the groups are spread over them, one member each."""
    title = (
        f"idle: topics of one partition; then {groups:,} groups that wait; CPU counted for {IDLE_S:g} s,"
        f" after {REST_S:g} s of rest; then a crash and a start"
    )
    cases = [Case(f"{each:,} topics", partial(_measure, each, groups)) for each in topics]
    return Piece("idle", title, cases, runs=1)


def _measure(topics: int, groups: int, lab: Lab) -> Figures:
    with lab.home() as home:
        with NodeProcess(home) as node:
            made = lab.run(make_topics, node.address, topics)
            time.sleep(REST_S)
            alone_s = _idle_cpu_s(node.pid)
            waiting_s = lab.run(wait_in_groups, node.address, node.pid, topics, groups)
            size = node.rss_bytes()
        with NodeProcess(home) as node:
            restart_s = node.ready_s
    return {
        "create s": made.wall_s,
        "idle CPU %": alone_s / IDLE_S * 100,
        "idle CPU % with groups": waiting_s / IDLE_S * 100,
        "RSS MB": size / 1e6,
        "restart after kill -9 s": restart_s,
    }


def _idle_cpu_s(pid: int) -> float:
    before_s = cpu_s(pid)
    time.sleep(IDLE_S)
    return cpu_s(pid) - before_s


async def make_topics(address: str, count: int) -> Spent:
    """Create `count` topics; measured from the first request to the last answer."""
    async with connect(address, timeout=WORK_S_MAX) as db:
        limit = anyio.CapacityLimiter(CALLERS)

        async def make(number: int) -> None:
            async with limit:
                await db.create_topic(f"t{number}", 1)

        watch = Stopwatch()
        async with anyio.create_task_group() as callers:
            for number in range(count):
                callers.start_soon(make, number)
        return watch.spent()


async def wait_in_groups(address: str, pid: int, topics: int, groups: int) -> float:
    """Join so many groups; processor seconds of the node while nothing comes."""
    async with connect(address, timeout=60) as db, AsyncExitStack() as stack:
        for number in range(groups):
            subscription = db.consume(f"t{number % topics}", group=f"g{number}")
            await stack.enter_async_context(subscription)
        await anyio.sleep(REST_S)
        return await anyio.to_thread.run_sync(_idle_cpu_s, pid)

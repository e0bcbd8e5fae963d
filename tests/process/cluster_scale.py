"""A thousand partitions, three copies of each, on three local nodes: cold start, idling, a leader's move.

python -m tests.process.cluster_scale
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import trio

from chronosdb.client import Client, Event, connect
from tests.process.cluster_nodes import Cluster
from tests.process.keys import key_of
from tests.process.mixed_faults import resident_bytes

TOPIC: Final = "wide"
OPTIONS: Final = ("--http", "off", "--log-level", "warning", "--segment-bytes", "1MB")
#: The goals.
START_S: Final = 60.0
IDLE_PERCENT: Final = 15.0
MOVE_S: Final = 1.0
_SERVES_S_MAX: Final = 180.0
_PAUSE_S: Final = 0.02
_LOOK_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the cold start."""

    name: str
    wall_s: float
    #: Of all nodes together: what is left of it on a machine that is busy with other things.
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One run."""

    partitions: int
    #: From the command to a topic whose partitions all take events.
    created_s: float
    #: From the start of three processes to a publish to every partition that is acked.
    cold_start_s: float
    phases: list[Phase]
    #: Of a core, by node.
    idle_percent: dict[str, float]
    memory_mib: dict[str, int]
    #: From the command to the next acked publish at the new leader.
    moves_s: list[float]

    @property
    def reached(self) -> bool:
        """Whether all goals are."""
        return (
            self.cold_start_s <= START_S
            and max(self.idle_percent.values()) <= IDLE_PERCENT
            and max(self.moves_s, default=0.0) <= MOVE_S
        )


async def scale(
    directory: Path, partitions: int, idle_s: float, moves: int, per_topic: int = 1000
) -> Figures:
    """One run in `directory`."""
    cluster = Cluster(directory / "nodes", OPTIONS)
    async with cluster.running():
        began_s = trio.current_time()
        topics = await _create(cluster, partitions, per_topic)
        await _all_take_events(cluster, topics, "created")
        created_s = trio.current_time() - began_s
        await cluster.kill(*cluster.nodes)
        phases = await _start(cluster, topics)
        idle = await _idle(cluster, idle_s)
        memory = {
            name: (resident_bytes(node.process.pid) or 0) // 2**20
            for name, node in cluster.nodes.items()
        }
        moves_s = [await _move(cluster, number % partitions) for number in range(moves)]
    cold_start_s = sum(phase.wall_s for phase in phases)
    return Figures(partitions, created_s, cold_start_s, phases, idle, memory, moves_s)


async def _start(cluster: Cluster, topics: dict[str, int]) -> list[Phase]:
    """Start all nodes at once; what took how long until a publish to every partition was acked."""

    async def nodes_start() -> None:
        await cluster.start(*cluster.nodes)

    async def all_led() -> None:
        with trio.fail_after(_SERVES_S_MAX):
            while not all([all(await cluster.leaders(topic)) for topic in topics]):  # noqa: ASYNC110
                await trio.sleep(_LOOK_S)

    async def all_take_events() -> None:
        await _all_take_events(cluster, topics, "started")

    steps = {
        "nodes serve": nodes_start,
        "all partitions led": all_led,
        "events taken by all": all_take_events,
    }
    phases: list[Phase] = []
    cpu_s = 0.0
    for name, step in steps.items():
        began_s = trio.current_time()
        await step()
        before_s, cpu_s = cpu_s, sum(_cpu_s(node.process.pid) for node in cluster.nodes.values())
        phases.append(Phase(name, trio.current_time() - began_s, cpu_s - before_s))
    return phases


async def _create(cluster: Cluster, partitions: int, per_topic: int) -> dict[str, int]:
    topics = {
        f"{TOPIC}-{n}": min(per_topic, partitions - n) for n in range(0, partitions, per_topic)
    }
    async with connect(cluster.servers, timeout=_SERVES_S_MAX) as db:
        for name, count in topics.items():
            await db.create_topic(name, count, replication=3)
    return topics


async def _all_take_events(cluster: Cluster, topics: dict[str, int], prefix: str) -> None:
    """Publish to every partition; return when all of it is acked."""
    with trio.fail_after(_SERVES_S_MAX):
        async with connect(cluster.servers, timeout=_SERVES_S_MAX) as db:
            for name, count in topics.items():
                events = [
                    Event(payload=b"x", message_id=f"{prefix}-{n}", schedule_ts=2**42)
                    for n in range(20 * count)
                ]
                reached = {result.partition for result in await db.publish_many(name, events)}
                assert len(reached) > 0.95 * count, "the ids reach nearly all partitions"


async def _idle(cluster: Cluster, seconds: float) -> dict[str, float]:
    """Percent of a core that each node takes when nobody asks for anything."""
    await trio.sleep(min(seconds, 5))
    before = {name: _cpu_s(node.process.pid) for name, node in cluster.nodes.items()}
    await trio.sleep(seconds)
    return {
        name: round(100 * (_cpu_s(node.process.pid) - before[name]) / seconds, 1)
        for name, node in cluster.nodes.items()
    }


def _cpu_s(pid: int) -> float:
    """Processor time a process has used so far, all threads."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def _move(cluster: Cluster, partition: int) -> float:
    """Have another node lead a partition; seconds until it has acked a publish."""
    topic = f"{TOPIC}-0"
    async with connect(cluster.servers, timeout=20) as db:
        key = key_of(partition, len(await db.cluster.topic(topic)))
        leader = await _leader(db, topic, partition)
        to = next(name for name in cluster.nodes if name != leader)
        began_s = trio.current_time()
        await db.cluster.transfer(to, topic=topic, partition=partition)
        while await _leader(db, topic, partition) != to:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(_PAUSE_S)
        await db.publish(topic, b"moved", key=key)
        return trio.current_time() - began_s


async def _leader(db: Client, topic: str, partition: int) -> str:
    return (await db.cluster.topic(topic))[partition].leader


@click.command()
@click.option("--partitions", type=click.IntRange(1, 10_000), default=1000, show_default=True)
@click.option("--idle", type=click.FloatRange(min=1), default=30.0, show_default=True,
              help="Seconds over which idling is measured.")  # fmt: skip
@click.option("--moves", type=click.IntRange(min=0), default=10, show_default=True)
def main(partitions: int, idle: float, moves: int) -> None:
    """Measure a wide cluster; exit with 1 if a goal was missed."""
    with tempfile.TemporaryDirectory(prefix="chronos-scale-") as directory:
        figures = trio.run(scale, Path(directory), partitions, idle, moves)
    idling = ", ".join(f"{name} {percent} %" for name, percent in figures.idle_percent.items())
    memory = ", ".join(f"{name} {size} MiB" for name, size in figures.memory_mib.items())
    moved = ""
    if figures.moves_s:
        moved = (
            f"; a leader moved in {statistics.median(figures.moves_s):.2f} s,"
            f" at most {max(figures.moves_s):.2f} s ({len(figures.moves_s)})"
        )
    for phase in figures.phases:
        click.echo(
            f"cold start, {phase.name}: {phase.wall_s:.1f} s, {phase.cpu_s:.1f} s of CPU in all nodes"
        )
    click.echo(
        f"{figures.partitions} partitions of 3 copies: created in {figures.created_s:.1f} s,"
        f" cold start to an ack of each {figures.cold_start_s:.1f} s,"
        f" idle: {idling} of a core; {memory}{moved}"
    )
    sys.exit(not figures.reached)


if __name__ == "__main__":
    main()

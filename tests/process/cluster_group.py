"""A group of a hundred members over 64 partitions on three nodes: how soon each change of it is settled.

    python -m tests.process.cluster_group

Ten clients with ten members each come, two of the clients go and come again, a node is killed -9 and started
again. Settled is the group when every partition has one member, every member is
alive, no one has two partitions more than another, and an event published to each partition then has arrived.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import click
import trio

from chronosdb.client import ChronosError, Client, Event, GroupInfo, connect
from tests.process.cluster_nodes import Cluster
from tests.process.keys import key_of

TOPIC: Final = "orders"
GROUP: Final = "workers"
OPTIONS: Final = ("--http", "off", "--log-level", "warning")
#: The goal (issue of the cluster).
SETTLED_S: Final = 5.0
_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.05


@dataclass(slots=True)
class Load:
    """The clients, and what has arrived at their members."""

    cluster: Cluster
    partitions: int
    arrived: set[str] = field(default_factory=set)
    living: dict[int, trio.CancelScope] = field(default_factory=dict)
    _rounds: count[int] = field(default_factory=count)

    async def client(self, number: int, members: int) -> None:
        """A client with so many members, until it is told to go."""
        with trio.CancelScope() as self.living[number]:
            async with (
                connect(self.cluster.servers, timeout=_PATIENCE_S) as db,
                trio.open_nursery() as nursery,
            ):
                for _ in range(members):
                    nursery.start_soon(self._member, db)

    def go(self, *numbers: int) -> None:
        """Clients end, in the middle of whatever they do."""
        for number in numbers:
            self.living.pop(number).cancel()

    async def _member(self, db: Client) -> None:
        async with db.consume(TOPIC, group=GROUP, credits=16) as deliveries:
            async for delivery in deliveries:
                self.arrived.add(delivery.message_id)
                with suppress(ChronosError):
                    await delivery.ack()

    async def settled(self, db: Client, members: int) -> None:
        """Wait until it is, with so many members."""
        with trio.fail_after(_PATIENCE_S):
            while not self._is_fair(await self._group(db), members):  # noqa: ASYNC110 - nobody tells
                await trio.sleep(_LOOK_S)
            await self._all_arrive(db)

    def _is_fair(self, info: GroupInfo | None, members: int) -> bool:
        if info is None or info.unknown:
            return False
        held: Counter[str] = Counter()
        owned: list[int] = []
        for one in info.members:
            held[one.member] += len(one.partitions)
            owned += one.partitions
        return (
            len(held) == members
            and sorted(owned) == list(range(self.partitions))
            and max(held.values()) - min(held.values()) <= 1
        )

    async def _group(self, db: Client) -> GroupInfo | None:
        with suppress(ChronosError):
            return await db.group(TOPIC, GROUP)
        return None

    async def _all_arrive(self, db: Client) -> None:
        round_ = next(self._rounds)
        events = [
            Event(payload=b"x", message_id=f"{round_}-{n}", key=key_of(n, self.partitions))
            for n in range(self.partitions)
        ]
        await db.publish_many(TOPIC, events)
        awaited = {event.message_id for event in events}
        while not awaited <= self.arrived:  # noqa: ASYNC110 - as above
            await trio.sleep(_LOOK_S)


@dataclass(slots=True)
class Run:
    """One run: seconds from each change until the group was settled."""

    clients: int
    members: int
    rounds: int
    took_s: dict[str, list[float]] = field(default_factory=dict)

    async def run(self, directory: Path, partitions: int) -> None:
        """Every change, so many rounds of those that can be repeated."""
        cluster = Cluster(directory / "nodes", OPTIONS)
        load = Load(cluster, partitions)
        everybody = self.clients * self.members
        two = 2 * self.members
        async with cluster.running(), trio.open_nursery() as nursery:
            async with connect(cluster.servers, timeout=_PATIENCE_S) as db:
                await db.create_topic(TOPIC, partitions, replication=3)

                async def come(*numbers: int) -> None:
                    for number in numbers:
                        nursery.start_soon(load.client, number, self.members)

                async def go(*numbers: int) -> None:
                    load.go(*numbers)

                async def changes(what: str, change: Awaitable[None], members: int) -> None:
                    began_s = trio.current_time()
                    await change
                    await load.settled(db, members)
                    self.took_s.setdefault(what, []).append(trio.current_time() - began_s)

                await changes(f"{everybody} come", come(*range(self.clients)), everybody)
                for number in range(self.rounds):
                    pair = number % self.clients, (number + 1) % self.clients
                    await changes(f"{two} go", go(*pair), everybody - two)
                    await changes(f"{two} come", come(*pair), everybody)
                    node = list(cluster.nodes)[number % len(cluster.nodes)]
                    await changes("a node is killed", cluster.kill(node), everybody)
                    await changes("a node comes back", cluster.start(node), everybody)
            nursery.cancel_scope.cancel()


@click.command()
@click.option("--partitions", type=click.IntRange(1, 1000), default=64, show_default=True)
@click.option("--clients", type=click.IntRange(3, 100), default=10, show_default=True)
@click.option("--members", type=click.IntRange(1, 100), default=10, show_default=True,
              help="Of each client.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
def main(partitions: int, clients: int, members: int, rounds: int) -> None:
    """Change a large group again and again; exit with 1 if it took longer than the goal to settle."""
    run = Run(clients, members, rounds)
    with tempfile.TemporaryDirectory(prefix="chronos-group-") as directory:
        trio.run(run.run, Path(directory), partitions)
    for what, took_s in run.took_s.items():
        click.echo(
            f"{what}: settled after {statistics.median(took_s):.2f} s, at most {max(took_s):.2f} s ({len(took_s)})"
        )
    sys.exit(max(map(max, run.took_s.values())) > SETTLED_S)


if __name__ == "__main__":
    main()

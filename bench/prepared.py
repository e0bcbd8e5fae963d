"""Publishing what was encoded before the clock ran: a client that costs the machine next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import anyio

from bench.load import Load
from bench.publishing import make_topic
from bench.stopwatch import Spent, Stopwatch
from chronosdb.client import Client, connect
from chronosdb.client.columns import columns_of
from chronosdb.client.connection import Ask
from chronosdb.client.ids import IdMaker
from chronosdb.client.leaders import Partition
from chronosdb.client.publisher import publish_request
from chronosdb.client.seams import Seams
from chronosdb.wire import messages as m


async def publish_prepared(address: str, load: Load) -> Spent:
    """Publish all of `load`; measured from the first send to the last ack.

    Each request is for one partition, in turn, as it is with a client for each of them.
    """
    await make_topic(address, load)
    requests = _prepared(load)
    async with connect(address, timeout=60) as db:
        await db.count_pending(load.topic)  # by then the client knows who leads
        watch = Stopwatch()
        turns = iter(requests)
        async with anyio.create_task_group() as callers:
            for _ in range(load.callers):
                callers.start_soon(_send, db, turns)
        return watch.spent()


def _prepared(load: Load) -> list[tuple[Partition, Ask]]:
    events = list(chain.from_iterable(load.batches()))
    columns = columns_of(events, IdMaker(Seams()))
    found: list[tuple[int, int, Partition, Ask]] = []
    for number, indices in columns.by_partition(load.partitions).items():
        partition = Partition(load.topic, number)
        for start in range(0, len(indices), load.batch):
            batch = memoryview(columns.encode(indices[start : start + load.batch]))
            found.append((start, number, partition, publish_request(partition, batch)))
    found.sort(key=lambda one: one[:2])
    return [(partition, ask) for _, _, partition, ask in found]


async def _send(db: Client, turns: Iterator[tuple[Partition, Ask]]) -> None:
    cluster = db._cluster  # noqa: SLF001 - what lies below encoding has no public name
    for partition, ask in turns:
        await cluster.call(ask, m.Published, partition)

"""The power is cut at every disk call while old segments are being carried and deleted.

Afterwards the views as they were loaded, the views computed from the log alone, and what a client was
promised must be one and the same (I1, I5, I7, I13).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

import pytest
from trio.testing import MockClock

from chronosdb.node.partition.reader import EventReader, RecordCache
from chronosdb.node.partition.state import PartitionState
from chronosdb.wal import Log, MemoryKV
from chronosdb.wire import messages as m
from tests.support.in_process import START_MS, Broker, broker
from tests.support.partition_log import FIRST, open_log
from tests.support.raw_client import RawClient, event
from tests.support.witness import node_may_die

HOUR_MS = 3_600_000
TOPIC = {"dedup_window_ms": HOUR_MS, "retention_ms": 2 * HOUR_MS}
NODE: dict[str, Any] = {"segment_bytes": 8 * 1024, "idle_timeout_ms": 1000 * HOUR_MS}
FAR = 6

pytestmark = pytest.mark.usefixtures("steady")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a partition knows, in a form that can be compared."""

    pending: dict[int, int]
    bodies: dict[int, tuple[bytes, bytes]]
    groups: dict[str, tuple[bytes, dict[int, Any], int]]
    #: Of pending events, by id.
    ids: dict[bytes, int | None]

    @classmethod
    def of(cls, state: PartitionState, log: Log) -> Picture:
        """All of it, read through the views."""
        reader = EventReader(log, FIRST.log_id, RecordCache(1 << 20), state.carried)
        due = list(state.timers.between(0, 1 << 45))
        pending = {
            offset: due_ms
            for rows in due
            for offset, due_ms in zip(rows.offsets.tolist(), rows.due_ms.tolist(), strict=True)
        }
        assert len(pending) == len(state.timers.pending)
        bodies = {}
        for offset in pending:
            stored = reader.stored(offset)
            i = offset - stored.start
            bodies[offset] = (stored.batch.message_id(i), stored.batch.payload(i))
        ids = [message_id for message_id, _ in bodies.values()]
        groups = {
            name: (group.cursor.to_bytes(), dict(group.retries), group.since_ms)
            for name, group in state.groups.items()
        }
        found = state.dedup.find(ids) or [None] * len(ids)
        return cls(pending, bodies, groups, dict(zip(ids, found, strict=True)))


def pictures(node: Broker) -> tuple[Picture, Picture]:
    """From the saved views and the log's tail, and from the log alone. The node is stopped."""
    log = open_log(node.disk)
    stored = MemoryKV()
    stored.write(node.views.store.namespaced(FIRST.log_id).scan())
    found = []
    for store in (stored, MemoryKV()):
        state = PartitionState(log, FIRST.log_id, store, node.now_ms)
        state.recover()
        state.slide_window(node.now_ms, HOUR_MS)
        found.append(Picture.of(state, log))
    return found[0], found[1]


async def fill(node: Broker, client: RawClient) -> None:
    """Three segments, nearly all of it over; a group that has done its work, with one retry."""
    await client.create_topic("t", 1, **TOPIC)
    await client.publish(
        *(event(f"far {n}", START_MS + (10_000 + n) * HOUR_MS, b"%d" % n) for n in range(FAR))
    )
    await change(client, "far 1", START_MS + 5000 * HOUR_MS)
    await change(client, "far 2", None)
    await client.subscribe("g")
    for n in range(20):
        await client.publish(event(f"e{n}", None, b"x" * 900))
        await client.ack(await client.next_event())
        await node.wait(60_000)
    await client.publish(event("fails"))
    await client.nack(await client.next_event(), delay_ms=40 * HOUR_MS)


async def change(client: RawClient, message_id: str, due_ms: int | None) -> None:
    """Cancels or moves."""
    await client.call(m.Change, "t", 0, message_id.encode(), due_ms)


async def retire(node: Broker, client: RawClient) -> None:
    """The hours in which the first segments go; a client does this and that meanwhile."""
    with node_may_die():
        await node.advance(3 * HOUR_MS)
        await change(client, "far 3", None)
        await node.wait(10)
        await change(client, "far 4", START_MS + 6000 * HOUR_MS)
        await node.wait(1000)
        await node.advance(HOUR_MS)
        await node.wait(1000)


def expect(picture: Picture) -> None:
    """What was promised before anything was cut."""
    names = {message_id for message_id, _ in picture.bodies.values()}
    assert {b"far 0", b"far 1", b"far 5"} <= names <= {b"far %d" % n for n in (0, 1, 3, 4, 5)}
    assert picture.ids == {message_id: o for o, (message_id, _) in picture.bodies.items()}
    assert all(body == (b"far %d" % o, b"%d" % o) for o, body in picture.bodies.items())
    assert picture.pending[1] == START_MS + 5000 * HOUR_MS
    assert picture.pending.get(4) in {START_MS + 6000 * HOUR_MS, START_MS + 10_004 * HOUR_MS}
    cursor, retries, _ = picture.groups["g"]
    assert cursor.hex() == "0114"  # 20 settled, the 21st failed
    assert [(p, retry.attempt) for p, retry in retries.items()] == [(20, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True], ids=["clean", "torn"])
async def test_a_power_cut_at_any_disk_call_of_a_pass_loses_nothing(
    clock: MockClock, torn: bool
) -> None:
    """Nor at a second one, in the pass that follows the first."""
    starts = set()
    for n in count(1):
        async with broker(clock, seed=n, **NODE) as node:
            client = await node.connect()
            await fill(node, client)
            node.disk.cut_power_at(n)
            await retire(node, client)
            reached = node.died
            await node.crash(Random(n) if torn else None)
            loaded, rebuilt = pictures(node)
            assert loaded == rebuilt
            expect(loaded)
            await node.start()
            await node.wait(2000)
            await node.stop()
            loaded, rebuilt = pictures(node)
            assert loaded == rebuilt
            expect(loaded)
            starts.add(open_log(node.disk).segments()[0].start.offset)
        if not reached:
            break
    assert n > 15
    assert starts - {0}

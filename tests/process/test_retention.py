"""A real node is killed again and again while it deletes the oldest part of its log."""

from __future__ import annotations

import shutil
from random import Random

import pytest
import trio

from chronosdb.client import Client, Event
from tests.process.conftest import StartNode
from tests.process.harness import TOPIC, NodeProcess, client, log_files, now_ms

FAR = 6000
#: A node that deletes whatever it may, from its start on.
SETTINGS = (
    *("--segment-bytes", "1MB", "--dedup-window", "1s", "--retention", "1s"),
    *("--log-level", "info"),
)
KILLS = 4


def far(n: int) -> Event:
    """An event of next year."""
    due_ms = now_ms() // 86_400_000 * 86_400_000 + 365 * 86_400_000 + n
    return Event(payload=b"%d " % n * 20, message_id=f"far-{n}", schedule_ts=due_ms)


async def fill(db: Client) -> None:
    """8 MB, most of it over; each batch holds some events of next year too."""
    for first in range(0, FAR, 300):
        over = [Event(payload=b"x" * 1000, message_id=f"over-{first}-{n}") for n in range(250)]
        await db.publish_many(TOPIC, [far(n) for n in range(first, first + 300)])
        await db.publish_many(TOPIC, over)


async def check(node: NodeProcess) -> None:
    """Every event of next year is there, found by its id too, with its bytes."""
    async with client(node) as db:
        found = {event.message_id: event.payload async for event in db.pending(TOPIC)}
        assert found == {f"far-{n}": b"%d " % n * 20 for n in range(FAR)}
        for n in range(0, FAR, 500):
            stored = await db.get(TOPIC, f"far-{n}")
            assert stored is not None
            assert (stored.state, stored.payload) == ("pending", found[f"far-{n}"])


@pytest.mark.slow
async def test_kill_9_while_old_segments_are_carried_and_deleted(start_node: StartNode) -> None:
    """No pending event is lost, and in the end the log holds little more than these."""
    node = await start_node("--segment-bytes", "1MB")
    async with client(node) as db:
        await fill(db)
    assert await node.stop() == 0
    full = len(log_files(node))
    await trio.sleep(1.1)
    rng = Random(1)
    for _ in range(KILLS):
        node = await start_node(*SETTINGS)
        await trio.sleep(rng.random() * 0.5)
        await node.kill()
    node = await start_node(*SETTINGS)
    await check(node)
    with trio.fail_after(60):
        while len(log_files(node)) > full // 3:  # noqa: ASYNC110 - it is another process
            await trio.sleep(0.1)
    await check(node)
    await node.stop()
    shutil.rmtree(node.data_dir / "views")
    node = await start_node(*SETTINGS)
    await check(node)

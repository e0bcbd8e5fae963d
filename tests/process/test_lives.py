"""What a node owes to those who trusted an earlier life of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio

from chronosdb.node.demo.tally import Tally
from tests.process.conftest import StartNode
from tests.process.harness import (
    client,
    consume,
    consume_all,
    events,
    evidence,
    now_ms,
    publish,
)

#: Far more than a node needs, far less than what a test would wait for in vain.
PUNCTUAL_MS = 500


def assert_kept(tally: Tally) -> None:
    """Everything was delivered as published, nothing of it early."""
    assert tally.complete
    assert (tally.altered, tally.early, tally.after_ack) == (0, 0, 0)


@pytest.mark.slow
async def test_due_while_down_and_nobody_subscribed(start_node: StartNode) -> None:
    """Events that came due while the node was killed, or before anyone subscribed, are delivered."""
    node, tally = await start_node(), Tally()
    async with client(node) as db:
        await publish(db, tally, events(20, now_ms(), "unwatched"))
        await publish(db, tally, events(20, now_ms() + 300, "asleep"))
    await node.kill()
    await trio.sleep(0.3)
    await node.start()
    async with client(node) as db:
        await consume_all(db, tally)
    assert_kept(tally)


@pytest.mark.slow
async def test_two_kills_in_a_row(start_node: StartNode) -> None:
    """A second kill -9, while the node still recovers from the first, takes nothing away."""
    node, tally = await start_node(), Tally()
    async with client(node) as db:
        await publish(db, tally, events(200, now_ms()))
    await node.kill()
    await node.launch()
    await trio.sleep(0.6)
    await node.kill()
    await node.start()
    async with client(node) as db:
        await publish(db, tally, events(200, tally_due(tally)))
        await consume_all(db, tally)
    assert tally.recognised == tally.republished == 200
    assert_kept(tally)


def tally_due(tally: Tally) -> int:
    """The due time that all expected events share."""
    [due_ms] = {event.schedule_ts for event in tally.expected.values()}
    assert due_ms is not None
    return due_ms


@pytest.mark.slow
async def test_pending_events_survive_twenty_restarts(start_node: StartNode) -> None:
    """After 20 restarts, clean and by kill -9 in turn, what is pending fires once and on time."""
    node, tally = await start_node("--checkpoint-interval", "100ms"), Tally()
    first_ms = now_ms()
    async with client(node) as db:
        for n in range(240):
            await publish(db, tally, events(1, first_ms + n * 500, f"half-second-{n}"))
    for life in range(20):
        if life % 2:
            await node.kill()
        else:
            assert await node.stop() == 0
        await node.start()
    async with client(node) as db, trio.open_nursery() as nursery:
        nursery.start_soon(consume, db, tally)
        await trio.sleep(0.5)
        fresh_ms = now_ms()
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    fresh = [receipt for receipt in tally.first.values() if receipt.due_ms > fresh_ms]
    assert len(fresh) >= 3
    assert all(0 <= receipt.late_ms < PUNCTUAL_MS for receipt in fresh)
    delivered = sorted(receipt.due_ms for receipt in tally.first.values())
    assert delivered == [first_ms + n * 500 for n in range(len(delivered))]
    assert await node.stop() == 0
    found = evidence(node)
    assert (found.events, found.violations) == (240, [])
    assert found.fired >= len(delivered)


@pytest.mark.slow
async def test_the_views_can_be_thrown_away(start_node: StartNode) -> None:
    """Without the LevelDB folder a node starts as ever: same duplicates, same cursor, same timers."""
    node, tally = await start_node(), Tally()
    batch = events(50, now_ms())
    async with client(node) as db:
        await publish(db, tally, batch)
        await consume_all(db, tally)
        await publish(db, tally, later := events(50, now_ms() + 2500, "later"))
    await node.stop()
    shutil.rmtree(node.data_dir / "views")
    await node.start()
    async with client(node) as db:
        await publish(db, tally, [*batch, *later])
        await consume_all(db, tally)
    assert tally.recognised == tally.republished == 100
    assert tally.again == 0
    assert_kept(tally)


@pytest.mark.slow
async def test_damaged_views_are_rebuilt(start_node: StartNode) -> None:
    """Flipped bytes in every file of the views cost a rebuild, which is logged, and nothing else."""
    node, tally = await start_node(), Tally()
    async with client(node) as db:
        await publish(db, tally, events(50, now_ms()))
        await consume_all(db, tally)
    await node.stop()
    for path in (node.data_dir / "views").iterdir():
        flip_every_byte(path)
    await node.start()
    assert "rebuilt from the logs" in node.said()
    async with client(node) as db:
        await publish(db, tally, list(tally.expected.values()))
    assert tally.recognised == tally.republished == 50
    assert await node.stop() == 0
    assert evidence(node).violations == []


def flip_every_byte(path: Path) -> None:
    """Leave nothing of a file but its length."""
    path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))

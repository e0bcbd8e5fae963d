"""SIGTERM and SIGINT: drain, sync, exit 0, while publishers and consumers are at work."""

from __future__ import annotations

import signal

import pytest
import trio

from chronosdb.client import ChronosError, Client
from chronosdb.node.demo.tally import Tally
from tests.process.conftest import StartNode
from tests.process.harness import client, consume, events, evidence, now_ms, publish


async def publish_until_refused(db: Client, tally: Tally, name: str) -> None:
    """One batch after the other; what was answered is in the tally."""
    try:
        for n in range(1_000_000):
            await publish(db, tally, events(50, now_ms(), f"{name}-{n}"))
    except ChronosError:
        return


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_under_load_loses_nothing(
    start_node: StartNode, number: signal.Signals
) -> None:
    """The node exits with 0 within 10 s, and everything that was answered is in the log once."""
    node, tally = await start_node(), Tally()
    async with client(node, timeout_s=3) as db, trio.open_nursery() as nursery:
        for name in ("left", "right"):
            nursery.start_soon(publish_until_refused, db, tally, name)
        nursery.start_soon(consume, db, tally)
        await trio.sleep(0.5)
        assert await node.stop(number, timeout_s=10) == 0
        nursery.cancel_scope.cancel()
    found = evidence(node)
    assert found.violations == []
    assert len(tally.published) > 100
    assert tally.published.keys() <= found.stored.keys()
    assert found.stored.keys() <= tally.expected.keys()
    assert (tally.altered, tally.early, tally.after_ack) == (0, 0, 0)
    assert found.events - found.unsettled >= len(tally.acked)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_on_the_way_out_do_no_harm(
    start_node: StartNode, number: signal.Signals
) -> None:
    """An impatient operator keeps Ctrl-C pressed until the node is gone: still a clean stop."""
    node = await start_node()
    while node.running:
        node.send(number)
        await trio.sleep(0.001)
    assert await node.ended() == 0
    assert "Traceback" not in node.said()

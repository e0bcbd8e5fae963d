"""An orderly stop of one node of several."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from chronosdb.wire.errors import Overloaded
from tests.support.in_cluster import cluster


@pytest.mark.slow
async def test_a_node_may_stop_while_it_opens_copies(clock: MockClock) -> None:
    """It ends without an error, and has all of them when it comes back."""
    async with cluster(clock) as three:
        node, client = three["n1"], await three["n2"].connect()

        async def create() -> None:
            with suppress(Overloaded):  # created, and not served everywhere in time
                await client.create_topic("t", 8)

        node.threads.delay_s = lambda: 2.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(create)
            await trio.sleep(0.3)
            await node.stop()
            node.threads.delay_s = float
            await node.start()
        await client.close()
        await three.led()
        assert len(node.member.copies.held()) == 8


@pytest.mark.slow
async def test_a_node_may_give_up_its_start_while_it_opens_copies(clock: MockClock) -> None:
    """With eight to be opened, which takes some seconds: it ends without an error."""
    async with cluster(clock) as three:
        await three.topic(partitions=8)
        node = three["n1"]
        await node.stop()
        for after_s in (3.0, 4.5, 6.0):
            node.threads.delay_s = lambda: 1.0
            node.launch()
            await trio.sleep(after_s)
            await node.stop()
            node.threads.delay_s = float
        await node.start()
        assert len(node.member.copies.held()) == 8

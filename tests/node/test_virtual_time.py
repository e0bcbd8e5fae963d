"""A whole node under virtual time: a day costs milliseconds, and events fire on theirs."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.support.in_process import START_MS, broker
from tests.support.raw_client import event

DAY_MS = 24 * 3_600_000


@pytest.mark.parametrize("days", [1, 365, 100 * 365])
async def test_an_event_fires_on_its_millisecond_however_far_ahead(
    clock: MockClock, days: int
) -> None:
    """Nothing a millisecond before its time; then it is delivered with no lateness at all."""
    due_ms = START_MS + days * DAY_MS
    async with broker(clock) as node:
        client = await node.connect()
        await client.create_topic()
        await client.publish(event("far", due_ms))
        await node.advance(due_ms - node.now_ms - 1)
        client = await node.connect()
        await client.subscribe()
        assert await client.drain() == []
        await node.advance(due_ms - node.now_ms)
        [got] = await client.drain()
        assert (got.message_id, got.sent_ms, got.arrived_ms) == ("far", due_ms, due_ms)
        await client.ack(got)

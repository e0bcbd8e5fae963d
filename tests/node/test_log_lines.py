"""What the node tells its operator, once each: the steps of its life that matter."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from trio.testing import MockClock

from chronosdb.wire.errors import Overloaded
from tests.support.in_process import START_MS, topic_broker
from tests.support.raw_client import event

HOUR_MS = 3_600_000
SMALL: dict[str, Any] = {"segment_bytes": 1_000_000, "disk_reserve_bytes": 300_000}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Since the last call: the lines of the node at the level that is usual."""
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO]
    caplog.clear()
    return lines


async def test_topics_groups_and_starts_are_told_once(
    clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A topic or group that exists already is no news; a start says what it found."""
    caplog.set_level(logging.DEBUG, logger="chronosdb")
    async with topic_broker(clock, partitions=2) as (node, client):
        assert "topic t was created" in said(caplog)
        await client.create_topic("t", 2)
        await client.subscribe()
        await client.publish(event("a", START_MS + HOUR_MS))
        assert said(caplog) == ["group g of topic t was created"]
        await node.restart()
        lines = said(caplog)
        assert "2 partitions of 1 topics are open; 1 events are pending" in lines
        await client.reconnect()
        await client.subscribe()
        assert said(caplog) == []


async def test_views_that_are_gone_are_told(
    clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that has to read the whole log says why it takes long."""
    caplog.set_level(logging.INFO, logger="chronosdb")
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a"))
        await node.stop()
        node.views.discard()
        caplog.clear()
        await node.start()
        assert any("its views are computed anew, from all" in line for line in said(caplog))


async def test_a_full_disk_is_told_when_it_begins_and_when_it_ends(
    clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However many publishes are refused in between."""
    caplog.set_level(logging.INFO, logger="chronosdb")
    async with topic_broker(clock, **SMALL) as (node, client):
        node.disk.capacity = node.disk.used_bytes + 700_000
        refused = 0
        for n in range(100):
            try:
                await client.publish(event(f"e{n}", payload=b"x" * 20_000))
            except Overloaded:
                refused += 1
        assert refused > 10
        node.disk.capacity += 10_000_000
        await client.publish(event("room again", payload=b"x" * 20_000))
        about_space = [line for line in said(caplog) if "disk" in line and line.startswith("t/0")]
        assert about_space == [
            "t/0: the disk is full; publishes are refused, the rest goes on in the reserve",
            "t/0: there is disk space again",
        ]

"""`chronos top` and `chronos cluster status` against a real node."""

from __future__ import annotations

import json

import pytest

from chronosdb.client import Event
from tests.process.conftest import StartNode
from tests.process.harness import TOPIC, chronos, client, now_ms


@pytest.mark.slow
async def test_top_and_status_show_what_the_node_has(start_node: StartNode) -> None:
    """As lines for programs, and as a table; where there is no terminal, top ends by itself."""
    node = await start_node()
    async with client(node) as db:
        due_ms = now_ms() + 90_000
        await db.publish_many(TOPIC, [Event(payload=b"x", schedule_ts=due_ms) for _ in range(30)])
        shown = await chronos("top", "--interval", "0.2", node=node)
        lines = await chronos("top", "--once", "--interval", "0.2", "--json", node=node)
        status = await chronos("cluster", "status", "--json", node=node)
        words = await chronos("cluster", "status", node=node)
    assert (shown.code, shown.err, lines.code, status.code, words.code) == (0, "", 0, 0, 0)
    assert "version " in shown.out.splitlines()[0]
    [row] = [line.split("\t") for line in shown.out.splitlines() if line.startswith(TOPIC)]
    assert row[:5] == [TOPIC, "30", "0", "30", "30"]
    assert row[-1] == "█" + " " * 19
    [frame] = [json.loads(line) for line in lines.out.splitlines()]
    [topic] = frame["topics"]
    assert (topic["pending"], sum(topic["upcoming"]), topic["published_per_s"]) == (30, 30, 0)
    assert topic["late_p99_ms"] is None
    facts = json.loads(status.out)
    assert (facts["topics"], facts["partitions"], facts["node_id"]) == (1, 1, frame["node_id"])
    assert f"version       {facts['version']}\n" in words.out

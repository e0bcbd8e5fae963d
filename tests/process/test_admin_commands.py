"""Groups, dead letters and the end of a topic, as an operator types it, against a node that runs."""

from __future__ import annotations

import json

import pytest
import trio

from chronosdb.client import connect
from tests.process.conftest import StartNode
from tests.process.harness import chronos


@pytest.mark.slow
async def test_an_operators_afternoon(start_node: StartNode) -> None:
    """A handler fails, its events are dead letters, are looked at, and come once more."""
    node = await start_node("--max-attempts", "1")
    async with connect(node.address) as db:
        await db.create_topic("orders")
        for n in range(3):
            await db.publish("orders", f"payload {n}".encode(), message_id=f"order-{n}")
        async with db.consume("orders", group="billing") as events:
            for _ in range(3):
                await (await anext(events)).nack(reason="no such account")
            busy = await chronos("group", "delete", "orders", "billing", "--yes", node=node)
            assert (busy.code, busy.err.count("\n")) == (5, 1)
        with trio.fail_after(10):
            while len([x async for x in db.dlq.list("orders")]) < 3:  # noqa: ASYNC110 - another process
                await trio.sleep(0.01)
    shown = await chronos("dlq", "list", "orders", node=node)
    assert shown.out.count("group=billing  1 attempt: no such account\n") == 3
    one = await chronos("dlq", "redrive", "orders", "order-1", node=node)
    assert one.out == "redriven 1 dead letter\n"
    purged = await chronos("dlq", "purge", "orders", "--all", "--yes", "--json", node=node)
    assert json.loads(purged.out) == {"topic": "orders", "purged": 2}
    described = await chronos("group", "show", "orders", "billing", "--json", node=node)
    assert json.loads(described.out)["lag"] == 1
    reset = await chronos("group", "reset", "orders", "billing", "--to", "earliest", node=node)
    assert reset.out.splitlines()[1] == "0\t3\t0\t4"
    for words in (("group", "delete", "orders", "billing"), ("topic", "delete", "orders")):
        assert (await chronos(*words, "--yes", node=node)).code == 0
    gone = await chronos("publish", "orders", "x", node=node)
    assert gone.code == 3
    assert [path.name for path in (node.data_dir / "partitions").iterdir()] == ["2-0"]

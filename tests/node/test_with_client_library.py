"""The real client library against the real node, both under virtual time."""

from __future__ import annotations

from trio.testing import MockClock

from chronosdb.client import Event
from tests.support.in_process import START_MS, broker


async def test_an_event_goes_all_the_way(clock: MockClock) -> None:
    """Published with a delay, consumed on its millisecond, acked on leaving its block."""
    async with broker(clock) as node, node.library() as db:
        await db.create_topic("orders", partitions=4)
        result = await db.publish("orders", b"payload", message_id="pay-42", after=30.0, key=b"u7")
        assert (result.message_id, result.duplicate) == ("pay-42", False)
        async with db.consume("orders", group="billing") as events:
            async for event in events:
                async with event:
                    assert (event.payload, event.key, event.lateness_ms) == (b"payload", b"u7", 0)
                    assert node.now_ms == START_MS + 30_000
                break
        stored = await db.get("orders", "pay-42", key=b"u7")
        assert stored is not None
        assert stored.state == "fired"


async def test_a_client_and_its_consumer_outlive_a_power_cut_of_the_node(clock: MockClock) -> None:
    """Both reconnect by themselves; nothing acked is lost, and each event is handled."""
    async with broker(clock) as node, node.library() as db:
        await db.create_topic("t")
        due_ms = [node.now_ms + 500 * i for i in range(20)]
        await db.publish_many(
            "t",
            [Event(payload=b"", message_id=f"e{i}", schedule_ts=t) for i, t in enumerate(due_ms)],
        )
        handled: list[str] = []
        async with db.consume("t", group="g") as events:
            async for event in events:
                handled.append(event.message_id)
                await event.ack()
                if len(handled) == 7:
                    await node.crash()
                    await node.start()
                if len(handled) == 20:
                    break
        assert handled == [f"e{i}" for i in range(20)]

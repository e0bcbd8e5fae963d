"""The id of a pending event is known for as long as the event is pending, however long that is (I5)."""

from __future__ import annotations

from array import array

import pytest
from trio.testing import MockClock

from chronosdb.node.partition.partition import PartitionId
from chronosdb.wire import messages as m
from chronosdb.wire.errors import Conflict
from tests.support.in_process import START_MS, Broker, topic_broker
from tests.support.raw_client import RawClient, event

DAY_MS = 24 * 3_600_000
DUE_MS = START_MS + 30 * DAY_MS

pytestmark = pytest.mark.usefixtures("steady")


def known_ids(node: Broker) -> set[bytes]:
    """The ids that have a row in the views of the first partition."""
    store = node.views.store.namespaced(PartitionId("t", 1, 0).log_id + b"id:")
    return {key for key, _ in store.scan()}


async def live(node: Broker, client: RawClient, days: int, how: str) -> None:
    """Days go by, each with an event of its own, checkpoints, and perhaps an end of the node."""
    for _ in range(days):
        await node.advance(DAY_MS)
        await client.reconnect()
        await client.publish(event(f"at {node.now_ms}"))
        await node.advance(31_000)
    if how == "crash":
        await node.crash()
    else:
        await node.stop()
    if how == "views deleted":
        node.views.discard()
    await node.start()
    await client.reconnect()


def duplicate(reply: m.Published) -> int | None:
    """The offset of the original, if there is one."""
    return array("q", reply.offsets)[0] if any(reply.duplicates) else None


@pytest.mark.parametrize("how", ["restart", "crash", "views deleted"])
async def test_a_pending_event_is_cancelled_by_its_id_after_the_window(
    clock: MockClock, how: str
) -> None:
    """And until then it is found, moved, and a second publish of it is a duplicate or a conflict."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("far", DUE_MS), event("moved", DUE_MS), event("soon", DUE_MS))
        await live(node, client, 20, how)
        assert (await client.get("far")).state == "pending"
        assert duplicate(await client.publish(event("far", DUE_MS))) == 0
        with pytest.raises(Conflict, match="far"):
            await client.publish(event("far", DUE_MS, b"other"))
        moved = await client.call(m.Change, "t", 0, b"moved", DUE_MS + DAY_MS)
        assert moved.outcome == "rescheduled"
        assert (await client.call(m.Change, "t", 0, b"far", None)).outcome == "cancelled"
        await node.advance(31_000)
        assert (await client.get("far")).state == ""
        assert duplicate(await client.publish(event("far", DUE_MS, b"other"))) is None
        assert {b"moved", b"soon"} <= known_ids(node)


@pytest.mark.parametrize("how", ["restart", "crash", "views deleted"])
async def test_the_id_is_free_and_its_row_gone_when_the_event_has_fired_after_the_window(
    clock: MockClock, how: str
) -> None:
    """Also if the node ended between the fire and the checkpoint that deletes the row."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("far", DUE_MS))
        await live(node, client, 20, "restart")
        await node.advance(DUE_MS - node.now_ms + 1)
        await client.reconnect()
        assert (await client.get("far")).state == ""
        await live(node, client, 0, how)
        await client.publish(event("other"))
        await node.advance(31_000)
        await client.reconnect()
        assert b"far" not in known_ids(node)
        assert duplicate(await client.publish(event("far", DUE_MS + DAY_MS, b"new"))) is None
        await node.advance(31_000)
        assert b"far" in known_ids(node)


async def test_an_id_taken_over_is_not_forgotten_with_its_first_event(clock: MockClock) -> None:
    """The first fires, the id is used again at once, and only then the checkpoint cleans up."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("far", DUE_MS))
        await live(node, client, 20, "restart")
        await node.advance(DUE_MS - node.now_ms + 1)
        await client.reconnect()
        second = (await client.publish(event("far", DUE_MS + DAY_MS))).first_offset
        await node.advance(31_000)
        assert duplicate(await client.publish(event("far", DUE_MS + DAY_MS))) == second


async def test_a_window_shorter_than_a_checkpoint_leaves_no_rows_behind(clock: MockClock) -> None:
    """What has come and gone between two checkpoints is written and deleted by one."""
    async with topic_broker(clock, topic={"dedup_window_ms": 1000}) as (node, client):
        for n in range(5):
            await client.publish(event(f"e{n}"))
            await node.advance(2000)
            await client.reconnect()
        await client.publish(event("last"))
        await node.advance(31_000)
        assert known_ids(node) == {b"last"}

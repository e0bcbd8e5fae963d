"""Deleting a topic: what it leaves, who may, and what a crash in the middle leaves."""

from __future__ import annotations

from itertools import count

import pytest
from trio.testing import MockClock

from chronosdb.client import Conflict, NotFound
from chronosdb.node.partition.partition import PartitionId
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError
from tests.support.in_process import DATA_DIR, START_MS, Broker, topic_broker
from tests.support.raw_client import event


def folders(node: Broker) -> list[str]:
    """The partitions that have files."""
    return node.disk.listdir(f"{DATA_DIR}/partitions")


def view_rows(node: Broker, topic_id: int, partition: int = 0) -> int:
    log_id = PartitionId("", topic_id, partition).log_id
    return sum(1 for _ in node.views.store.namespaced(log_id).scan())


async def test_a_deleted_topic_is_not_found_and_leaves_nothing(clock: MockClock) -> None:
    """No files, no rows, no groups; what was pending never fires; other topics stay."""
    async with topic_broker(clock, partitions=2) as (node, client), node.library() as db:
        await client.create_topic("other")
        await client.publish(event("a"), event("later", START_MS + 60_000))
        await client.publish(event("o"), topic="other")
        number = await client.subscribe()
        await client.ack(await client.next_event())
        await client.unsubscribe(number)
        await node.restart()
        await client.reconnect()
        assert folders(node) == ["1-0", "1-1", "2-0"]
        assert view_rows(node, 1) > 0
        await db.delete_topic("t")
        assert folders(node) == ["2-0"]
        assert view_rows(node, 1) == view_rows(node, 1, 1) == 0
        assert [topic.name for topic in await db.topics()] == ["other"]
        with pytest.raises(NotFound):
            await client.publish(event("b"))
        with pytest.raises(NotFound):
            await client.subscribe()
        with pytest.raises(NotFound):
            await db.groups("t")
        with pytest.raises(NotFound):
            await db.delete_topic("t")
        await node.advance(120_000)
        await client.subscribe(topic="other")
        assert [d.message_id for d in await client.drain(1000)] == ["o"]


@pytest.mark.parametrize("restart", [False, True], ids=["at once", "after a restart"])
async def test_a_topic_of_the_same_name_begins_anew(clock: MockClock, restart: bool) -> None:
    """With offset 0, no groups, and ids that may be used again; of any size."""
    async with topic_broker(clock) as (node, client), node.library() as db:
        await db.publish("t", b"old", message_id="a")
        number = await client.subscribe()
        await client.ack(await client.next_event())
        await client.unsubscribe(number)
        await db.delete_topic("t")
        if restart:
            await node.restart()
            await client.reconnect()
        await db.create_topic("t", partitions=3)
        result = await db.publish("t", b"new", message_id="a")
        assert (result.offset, result.duplicate) == (0, False)
        await client.subscribe()
        assert [d.payload for d in await client.drain(1000)] == [b"new"]


async def test_a_topic_that_is_consumed_is_not_deleted(clock: MockClock) -> None:
    """The error names the group; nothing changes."""
    async with topic_broker(clock) as (node, client), node.library() as db:
        number = await client.subscribe("billing")
        with pytest.raises(Conflict, match="group billing: stop the consumers"):
            await db.delete_topic("t")
        await client.publish(event("a"))
        await client.ack(await client.next_event())
        await client.unsubscribe(number)
        await db.delete_topic("t")


async def test_what_is_being_published_is_answered_one_way_or_the_other(clock: MockClock) -> None:
    """Nobody waits for a partition that is gone (I16)."""
    async with topic_broker(clock) as (node, client):
        operator = await node.connect()
        with node.threads.held("_write"):
            before = await client.publish_later(event("a"))
            await client.drain(1)
            await operator.post(m.DeleteTopic(1, "t"))
            await operator.drain(1)
            after = await client.publish_later(event("b"))
            await client.drain(1)
        await client.reply(before)
        with pytest.raises(ChronosError):
            await client.reply(after)
        await operator.reply(1)


async def test_dead_letters_that_wait_are_given_up_with_their_topic(clock: MockClock) -> None:
    """Those of other topics go on."""
    once = {"max_attempts": 1}
    async with topic_broker(clock, topic=once) as (node, client), node.library() as db:
        await client.create_topic("u", **once)
        for topic in ("t", "u"):
            await client.publish(event("a"), topic=topic)
            number = await client.subscribe(topic=topic)
            delivery = await client.next_event()
            with node.threads.held("_open"):  # the dead-letter topic is not made meanwhile
                await client.nack(delivery)
                await client.unsubscribe(number)
                if topic == "t":
                    await client.post(m.DeleteTopic(99, "t"))
                    await client.drain(1)
        await client.reply(99)
        assert [letter.message_id async for letter in db.dlq.list("u")] == ["a"]


async def _delete_until_cut(node: Broker, cut: int) -> bool:
    """Asks for a deletion while the power is cut at a later disk call; whether it was not."""
    operator = await node.connect()
    node.disk.cut_power_at(cut)
    await operator.post(m.DeleteTopic(1, "t"))
    await node.advance(1)
    whole = node.disk.armed
    await node.crash()
    return whole


async def test_a_deletion_that_was_cut_short_is_finished_at_the_next_start(
    clock: MockClock,
) -> None:
    """Power is cut at each disk call in turn: the topic is there with all it had, or all of it is gone."""
    async with topic_broker(clock, partitions=2) as (node, client), node.library() as db:
        cuts = count(1)
        outcomes = set()
        whole = False
        while not whole:
            await client.publish(event("a"))
            whole = await _delete_until_cut(node, next(cuts))
            await node.start()
            await client.reconnect()
            there = [topic.name for topic in await db.topics()] == ["t"]
            outcomes.add(there)
            if there:
                assert (await client.get("a")).state == "fired"
            else:
                assert folders(node) == []
                await client.create_topic("t", 2)
        assert outcomes == {True, False}


async def test_folders_that_the_metadata_cannot_know_are_left_alone(clock: MockClock) -> None:
    """Someone lost the metadata: that must not cost the data as well."""
    async with topic_broker(clock) as (node, client):
        await client.create_topic("u")
        await client.publish(event("a"), topic="u")
        await node.stop()
        for name in node.disk.listdir(f"{DATA_DIR}/raft"):
            node.disk.unlink(f"{DATA_DIR}/raft/{name}")
        node.disk.mkdir(f"{DATA_DIR}/partitions/not-ours")
        await node.start()
        assert folders(node) == ["1-0", "2-0", "not-ours"]

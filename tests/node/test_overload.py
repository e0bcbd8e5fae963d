"""Clients that ask for more than they take, or take nothing: bounds hold, and nobody else waits."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import final

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.service.outbox import Outbox
from chronosdb.wire import encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import Overloaded
from tests.support.in_process import START_MS, broker, topic_broker
from tests.support.raw_client import RawClient, event

MIB = 1024 * 1024


@final
class Gauge:
    """The most bytes that ever waited for one client."""

    most = 0


@pytest.fixture
def gauge(monkeypatch: pytest.MonkeyPatch) -> Gauge:
    found = Gauge()
    add = Outbox.add

    def measured(self: Outbox, frame: bytes) -> None:
        add(self, frame)
        found.most = max(found.most, self._nbytes)

    monkeypatch.setattr(Outbox, "add", measured)
    return found


async def flood(client: RawClient, message: m.Message, times: int) -> None:
    """Sends one message over and over, and reads nothing."""
    data = client.session.send(message)
    for _ in range(times):
        await client.stream.send_all(data)


async def test_answers_that_nobody_reads_are_bounded(clock: MockClock, gauge: Gauge) -> None:
    """A client that asks ten thousand times for a megabyte is not read any further, then dropped."""
    async with topic_broker(clock, idle_timeout_ms=60_000) as (node, client):
        await client.publish(event("big", START_MS + 10**9, b"x" * MIB))
        with pytest.raises(trio.BrokenResourceError):
            await flood(client, m.Get(1, "t", 0, b"big"), 10_000)
        assert 16 * MIB < gauge.most < 18 * MIB
        assert node.now_ms - START_MS < 70_000


async def test_deliveries_that_nobody_reads_are_bounded(clock: MockClock, gauge: Gauge) -> None:
    """Whatever its credit, a slow reader has a bounded number on its way; others get the rest."""
    async with topic_broker(clock) as (node, quick):
        slow = await node.connect()
        await slow.subscribe(credit=1_000_000)
        for i in range(30):
            await quick.publish(*(event(f"e{i}.{j}", payload=b"x" * 32 * 1024) for j in range(50)))
        assert gauge.most < 4 * MIB + 256 * 33 * 1024
        await quick.subscribe()
        assert len(await quick.events(1000)) == 1000


async def test_a_reader_that_stopped_reading_does_not_keep_its_partition(clock: MockClock) -> None:
    """It is dropped when it was silent for too long, although there is no end of bytes for it."""
    async with topic_broker(clock, idle_timeout_ms=60_000) as (node, stuck):
        await stuck.subscribe(mode="ordered", credit=10_000)
        for i in range(20):
            rows = (event(f"e{i}.{j}", START_MS + 1000, b"x" * 64 * 1024) for j in range(10))
            await stuck.publish(*rows)
        other = await node.connect()
        await other.subscribe(mode="ordered")
        for _ in range(5):
            await node.wait(20_000)
            await other.call(m.Ping)
        assert len(await other.events(200)) == 200


async def test_publishes_in_flight_are_bounded_while_the_disk_hangs(clock: MockClock) -> None:
    """Reading stops; when the disk is back all of it is answered, in order."""
    async with topic_broker(clock, max_inflight_bytes=17 * MIB) as (node, client):
        batch = memoryview(encode_batch([event("a", START_MS + 10**9, b"x" * MIB)]))
        sent = 0
        with node.threads.held("_write"), trio.move_on_after(10):
            for sent in range(100):
                await client.post(m.Publish(sent, "t", 0, batch))
        assert 17 <= sent <= 20
        for request in range(sent):
            await client.reply(request)


async def test_small_requests_in_flight_are_bounded_while_the_disk_hangs(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost memory, however few their bytes are."""
    monkeypatch.setattr("chronosdb.node.service.connection._UNANSWERED", 3000)
    async with topic_broker(clock) as (node, client):
        subscription = await client.subscribe()
        await client.publish(event("a"))
        await client.next_event()
        first_run = memoryview(bytes(8) + b"\1" + bytes(7))
        data = client.session.send(m.Ack(1, subscription, 0, first_run))
        sent = count()
        with node.threads.held("_write"), trio.move_on_after(10):
            while next(sent) < 1000:
                await client.stream.send_all(data * 100)
        assert 30 <= next(sent) < 100


async def test_a_full_queue_refuses_publishes_and_takes_acks(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of what was refused is stored; and acks never add to what is waiting."""
    small = partial(CommitOptions, queue_bytes=MIB)
    monkeypatch.setattr("chronosdb.node.node.CommitOptions", small)
    async with topic_broker(clock) as (node, client):
        await client.subscribe()
        await client.publish(event("a"))
        got = await client.next_event()
        with node.threads.held("_write"):
            taken = [
                await client.publish_later(event(f"b{i}", payload=b"x" * MIB)) for i in range(2)
            ]
            await client.drain(1)
            with pytest.raises(Overloaded, match="slow down"):
                await client.publish(event("refused"))
            ack = await client.post_ack(got)
        for request in (*taken, ack):
            await client.reply(request)
        assert (await client.get("refused")).state == ""
        await client.publish(event("refused"))


async def test_connections_over_the_limit_are_turned_away_with_the_reason(clock: MockClock) -> None:
    """And as soon as one is free, the next is welcome."""
    async with broker(clock, max_connections=2) as node:
        first, second = await node.connect(), await node.connect()
        third = node.client()
        await third.dial()
        assert "2 connections" in await third.closed()
        await first.close()
        await node.wait(1)
        await (await node.connect()).create_topic()
        await second.create_topic()


async def test_a_client_that_says_nothing_is_dropped(clock: MockClock) -> None:
    """After the idle timeout, with the reason; one that pings stays."""
    async with topic_broker(clock, idle_timeout_ms=60_000) as (node, quiet):
        lively = await node.connect()
        for _ in range(7):
            await node.wait(10_000)
            await lively.call(m.Ping)
        assert "too long" in await quiet.closed()
        await lively.publish(event("a"))

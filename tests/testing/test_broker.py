"""`chronosdb.testing.Broker`, used as its users do."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from chronosdb.client import Client
from chronosdb.node.configuration.config import ConfigError
from chronosdb.testing import START, Broker
from chronosdb.wire import epoch_ms

DAY_MS = 24 * 3_600_000
START_MS = epoch_ms(START)


async def take_all(db: Client, broker: Broker, taken: list[tuple[str, int, int]]) -> None:
    """Notes id, attempt and time of what is consumed, and acks it."""
    async with db.consume("t", group="g") as events:
        async for event in events:
            taken.append((event.message_id, event.attempt, broker.now_ms))
            await event.ack()


async def test_events_fire_on_their_own_millisecond_while_a_year_passes(
    chronos_broker: Broker, nursery: trio.Nursery
) -> None:
    """One leap over a year stops at each event; a consumer has each without lateness."""
    broker = chronos_broker
    due_ms = [START_MS + n for n in (1, 9_001, DAY_MS, 100 * DAY_MS + 7, 365 * DAY_MS)]
    async with broker.connect() as db:
        await db.create_topic("t")
        for ms in due_ms:
            await db.publish("t", b"", message_id=str(ms), at=ms)
        taken: list[tuple[str, int, int]] = []
        nursery.start_soon(take_all, db, broker, taken)
        await broker.advance(days=365)
        assert taken == [(str(ms), 1, ms) for ms in due_ms]
        assert [(d.topic, d.group, d.lateness_ms) for d in broker.deliveries] == [("t", "g", 0)] * 5
        broker.assert_never_early()
        nursery.cancel_scope.cancel()


async def test_nothing_is_sent_a_millisecond_before_its_time(
    chronos_broker: Broker, nursery: trio.Nursery
) -> None:
    """Time stands still between leaps, wherever they end."""
    async with chronos_broker.connect() as db:
        await db.create_topic("t")
        await db.publish("t", b"", after=3600)
        nursery.start_soon(take_all, db, chronos_broker, [])
        await chronos_broker.advance(minutes=59, seconds=59, ms=999)
        assert chronos_broker.deliveries == []
        await chronos_broker.advance(ms=1)
        assert len(chronos_broker.deliveries) == 1
        nursery.cancel_scope.cancel()


async def test_a_test_may_also_just_wait(chronos_broker: Broker) -> None:
    """Whoever waits for an event has it at once, and the time has come."""
    async with chronos_broker.connect() as db:
        await db.create_topic("t")
        await db.publish("t", b"", after=3600)
        async with db.consume("t", group="g") as events:
            async for event in events:
                assert event.lateness_ms == 0
                break
        assert chronos_broker.now_ms == START_MS + 3_600_000


async def test_a_crash_loses_nothing_that_was_acked_and_time_goes_on_without_the_node(
    chronos_broker: Broker, nursery: trio.Nursery
) -> None:
    """What fell due meanwhile is delivered, late, after the restart; the client comes back."""
    async with chronos_broker.connect() as db:
        await db.create_topic("t")
        await db.publish("t", b"", message_id="a", after=60)
        await chronos_broker.crash()
        await chronos_broker.advance(hours=1)
        await chronos_broker.restart()
        taken: list[tuple[str, int, int]] = []
        nursery.start_soon(take_all, db, chronos_broker, taken)
        await chronos_broker.advance(seconds=5)
        assert [(message_id, attempt) for message_id, attempt, _ in taken] == [("a", 1)]
        nursery.cancel_scope.cancel()


async def test_a_restart_stops_the_node_in_order(chronos_broker: Broker) -> None:
    """A running node comes back with all it had."""
    async with chronos_broker.connect() as db:
        await db.create_topic("t")
        await db.publish("t", b"", message_id="a", after=60)
        await chronos_broker.restart()
        assert await db.count_pending("t") == 1


async def test_the_wall_clock_can_be_set(chronos_broker: Broker, nursery: trio.Nursery) -> None:
    """Forward: what it passes fires at once. Back: what has fired is no early delivery."""
    async with chronos_broker.connect() as db:
        await db.create_topic("t")
        await db.publish("t", b"", after=3600)
        chronos_broker.step_clock(seconds=3600)
        await chronos_broker.advance(ms=0)
        chronos_broker.step_clock(seconds=-7200)
        assert chronos_broker.now_ms == START_MS - 3_600_000
        nursery.start_soon(take_all, db, chronos_broker, [])
        await chronos_broker.advance(ms=0)
        assert len(chronos_broker.deliveries) == 1
        chronos_broker.assert_never_early()
        nursery.cancel_scope.cancel()


async def test_retries_come_at_their_time(autojump_clock: MockClock) -> None:
    """Leaps stop at the end of a lease too; settings are the node's."""
    assert autojump_clock.autojump_threshold == 0
    async with Broker(START_MS, ack_timeout_ms=5_000, backoff_ms=0) as broker:
        async with broker.connect() as db:
            await db.create_topic("t")
            await db.publish("t", b"")
            async with db.consume("t", group="g"):
                await broker.advance(seconds=11)
        assert [(d.attempt, d.sent_ms - START_MS) for d in broker.deliveries] == [
            (1, 0),
            (2, 5_000),
            (3, 10_000),
        ]


async def test_an_early_delivery_would_be_found(chronos_broker: Broker) -> None:
    """The assertion looks at the times, and says which event and by how much."""
    async with chronos_broker.connect() as db:
        await db.create_topic("t")
        await db.publish("t", b"", message_id="a")
        async with db.consume("t", group="g"):
            await chronos_broker.advance(seconds=1)
    [delivered] = chronos_broker.deliveries
    chronos_broker.deliveries[:] = [replace(delivered, schedule_ts=delivered.sent_ms + 5)]
    with pytest.raises(AssertionError, match=r"1 of 1 deliveries were early.* by 5 ms.*'a'"):
        chronos_broker.assert_never_early()


async def test_a_clock_that_the_test_brings_is_the_clock(
    chronos_broker: Broker, mock_clock: MockClock
) -> None:
    """Time that leaps for nobody but `advance` will do."""
    assert trio.lowlevel.current_clock() is mock_clock
    async with chronos_broker.connect() as db:
        await db.create_topic("t")
        await db.publish("t", b"", after=60)
        async with db.consume("t", group="g"):
            await chronos_broker.advance(minutes=1)
    assert [d.lateness_ms for d in chronos_broker.deliveries] == [0]


async def test_time_does_not_go_back(chronos_broker: Broker) -> None:
    """The error says what sets the clock."""
    with pytest.raises(ValueError, match=r"1000 ms in the past.*step_clock"):
        await chronos_broker.advance_to(START - dt.timedelta(seconds=1))


async def test_errors_leave_the_broker_as_they_are(autojump_clock: MockClock) -> None:
    """What a test raises is not wrapped in a group, nor are settings that cannot work."""
    assert autojump_clock.autojump_threshold == 0
    with pytest.raises(KeyError):
        async with Broker():
            raise KeyError
    with pytest.raises(ConfigError):
        await Broker(backoff_ms=100_000, backoff_max_ms=1).__aenter__()


def test_real_time_is_refused() -> None:
    """The error says how a program gets a virtual clock."""

    async def test() -> None:
        async with Broker():
            pass

    with pytest.raises(RuntimeError, match=r"chronos_broker or autojump_clock"):
        trio.run(test)

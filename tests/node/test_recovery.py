"""What a node knows after it was stopped or lost its power: exactly what its log says (I1, I13)."""

from __future__ import annotations

from random import Random

import pytest
from trio.testing import MockClock

from chronosdb.node.partition import state as states
from chronosdb.node.partition.state import PartitionState
from chronosdb.wal import KeyValue, MemoryKV
from tests.support.in_process import START_MS, Broker, topic_broker
from tests.support.partition_log import FIRST, open_log
from tests.support.raw_client import event

LOG_ID = FIRST.log_id


def recovered(node: Broker, views: KeyValue) -> PartitionState:
    """The state of partition 0 of the first topic, as a node that starts on `views` finds it."""
    state = PartitionState(open_log(node.disk), LOG_ID, views.namespaced(LOG_ID), node.now_ms)
    state.recover()
    return state


def picture(state: PartitionState, ids: list[str]) -> dict[str, object]:
    """Everything a partition knows, as plain values."""
    due = state.timers.expire(2**62, 1 << 20)
    return {
        "timers": list(zip(due.due_ms.tolist(), due.offsets.tolist(), strict=True)),
        "pending": len(state.timers.pending),
        "groups": {name: (repr(g.cursor), g.retries) for name, g in state.groups.items()},
        "ids": state.dedup.find([i.encode() for i in ids]),
        "epoch": state.epoch,
        "lsn": state.applied_lsn,
    }


async def test_what_came_due_while_the_node_was_down_is_delivered(clock: MockClock) -> None:
    """In order of due time, at once after the start (I4)."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("b", START_MS + 9000), event("a", START_MS + 5000))
        await client.publish(event("later", START_MS + 60_000))
        await node.crash()
        await node.advance(30_000)
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert [d.message_id for d in await client.events(2)] == ["a", "b"]
        later = await client.next_event()
        assert (later.message_id, later.arrived_ms) == ("later", START_MS + 60_000)


async def test_pending_events_survive_two_crashes_in_a_row(clock: MockClock) -> None:
    """The second one before the node has done anything."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + 10_000))
        for _ in range(2):
            await node.crash()
            await node.start()
        await client.reconnect()
        await client.subscribe()
        assert (await client.next_event()).arrived_ms == START_MS + 10_000


async def test_twenty_restarts_lose_and_double_nothing(clock: MockClock) -> None:
    """Stops and crashes by turns, each after a publish and an ack."""
    async with topic_broker(clock) as (node, client):
        await client.subscribe()
        for i in range(20):
            await client.publish(
                event(f"soon {i}", START_MS + 1000 * i), event(f"far {i}", START_MS + 10**6 + i)
            )
            got = await client.next_event()
            assert (got.message_id, got.position, got.attempt) == (f"soon {i}", i, 1)
            await client.ack(got)
            await (node.stop() if i % 2 else node.crash())
            await node.start()
            await client.reconnect()
            await client.subscribe()
            assert await client.drain(100) == []
        await node.advance(START_MS + 10**6 - node.now_ms)
        assert [d.message_id for d in await client.events(20)] == [f"far {i}" for i in range(20)]


async def test_a_settled_event_stays_settled_over_a_crash(clock: MockClock) -> None:
    """And one that was delivered but not acked comes again (I7, I8)."""
    async with topic_broker(clock) as (node, client):
        await client.publish(*(event(f"e{i}") for i in range(5)))
        await client.subscribe()
        got = await client.events(5)
        await client.ack(got[0], got[3])
        await node.crash()
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert [d.position for d in await client.drain(100)] == [1, 2, 4]


async def test_attempts_are_counted_over_a_restart(clock: MockClock) -> None:
    """A retry that waited when the node crashed comes at its time, with its number."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a"))
        await client.subscribe()
        await client.nack(await client.next_event(), delay_ms=10_000)
        due_ms = node.now_ms + 10_000
        await node.crash()
        await node.start()
        await client.reconnect()
        await client.subscribe()
        again = await client.next_event()
        assert (again.attempt, again.arrived_ms) == (2, due_ms)


async def busy_life(node: Broker) -> list[str]:
    """Leaves behind every kind of record, some before checkpoints and some after; the ids used."""
    client = await node.connect()
    await client.subscribe("g", credit=1000)
    await client.subscribe("idle", credit=0, start="latest")
    ids = []
    for i in range(12):
        rows = [event(f"e{i}.{j}", node.now_ms + j * 7000) for j in range(12)]
        ids += [row.message_id.decode() for row in rows]
        await client.publish(*rows)
        got = await client.drain(4000)
        if got:
            await client.ack(*got[::2])
        for delivery in got[1::4]:
            await client.nack(delivery, delay_ms=3000 * i)
    return ids


@pytest.mark.parametrize("stop", ["crash", "stop"])
async def test_views_thrown_away_are_rebuilt_to_the_same_state(clock: MockClock, stop: str) -> None:
    """Timers, pending events, cursors, retries, ids: a function of the log alone."""
    async with topic_broker(clock, checkpoint_interval_ms=5000) as (node, _):
        ids = await busy_life(node)
        await (node.stop() if stop == "stop" else node.crash(Random(1)))
        with_views = picture(recovered(node, node.views.store), ids)
        assert picture(recovered(node, MemoryKV()), ids) == with_views
        assert with_views["pending"] == len(with_views["timers"])  # type: ignore[arg-type]
        assert with_views["timers"]
        assert all(offset is not None for offset in with_views["ids"])  # type: ignore[attr-defined]


async def test_a_log_that_is_read_whole_is_saved_on_the_way(clock: MockClock) -> None:
    """Often enough that memory is bounded; what is known in the end is the same."""
    async with topic_broker(clock, checkpoint_interval_ms=5000) as (node, _):
        ids = await busy_life(node)
        await node.crash(Random(1))
        with_views = picture(recovered(node, node.views.store), ids)
        views = MemoryKV()
        on_the_way = PartitionState(
            open_log(node.disk), LOG_ID, views.namespaced(LOG_ID), node.now_ms
        )
        on_the_way.recover(save_every=1)
        assert on_the_way.saved_lsn == on_the_way.applied_lsn
        assert picture(on_the_way, ids) == with_views
        assert picture(recovered(node, views), ids) == with_views


async def test_a_checkpoint_saves_the_work_of_reading_the_log(clock: MockClock) -> None:
    """After an orderly stop no record is applied again; after a crash, those since the checkpoint."""
    async with topic_broker(clock, checkpoint_interval_ms=5000) as (node, client):
        await client.publish(event("a", START_MS + 10**6))
        await node.advance(6000)
        await client.publish(event("b", START_MS + 10**6))
        await node.crash(Random(0))
        state = recovered(node, node.views.store)
        assert state.saved_lsn < state.applied_lsn
        assert [i for i in (b"a", b"b") if state.dedup.find([i])] == [b"a", b"b"]
        await node.start()
        await node.stop()
        state = recovered(node, node.views.store)
        assert state.saved_lsn == state.applied_lsn


async def test_a_checkpoint_during_a_write_keeps_the_timers_that_are_being_fired(
    clock: MockClock,
) -> None:
    """They have left the wheel, but fire only when their record is on disk: a crash undoes that."""
    async with topic_broker(clock, checkpoint_interval_ms=5000) as (node, client):
        await client.publish(event("near", START_MS + 8000), event("far", START_MS + 10**9))
        await node.advance(5000)
        await client.publish(event("changed", START_MS + 10**9))
        with node.threads.held("_write"):
            await node.advance(3000)
            await node.advance(5000)
            life_with_views = node.views.store
            await node.crash(Random(0))
            node.views.store = life_with_views
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert (await client.next_event()).message_id == "near"


@pytest.mark.parametrize("key", [b"timer:pending", b"group:g", b"meta"])
async def test_damaged_views_are_rebuilt_not_believed(clock: MockClock, key: bytes) -> None:
    """Whatever LevelDB's own checksums let through; the log is what counts."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a"), event("b", START_MS + 10_000))
        await client.subscribe()
        await client.ack(await client.next_event())
        await node.stop()
        store = node.views.store.namespaced(LOG_ID)
        raw = store.get(key)
        assert raw is not None
        store.write([(key, raw[:-1])])
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert (await client.next_event()).message_id == "b"
        assert (await client.get("a")).state == "fired"


async def test_views_of_another_layout_are_rebuilt(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later version that changes the rows raises the number, and old rows are not read."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS + 10_000))
        await node.stop()
        monkeypatch.setattr(states, "_VIEWS_VERSION", 99)
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert (await client.next_event()).message_id == "a"

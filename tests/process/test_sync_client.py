"""The client without await, from threads, against a real node."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable

import pytest
import trio

from chronosdb.client import Client, Event, NotFound
from chronosdb.client.dlq import DeadLetters
from chronosdb.client.operating import Operating
from chronosdb.client.schedules import Schedules
from chronosdb.client.sync import SyncClient, connect
from chronosdb.client.sync.client import SyncDeadLetters, SyncOperating, SyncSchedules
from tests.process.conftest import StartNode
from tests.process.harness import now_ms

pytestmark = pytest.mark.slow


async def in_thread(start_node: StartNode, work: Callable[[SyncClient], None]) -> None:
    """Run `work` in a thread with a client of a fresh node that has a topic "t"."""
    node = await start_node()

    def run() -> None:
        with connect(node.address, timeout=20) as db:
            db.create_topic("t", partitions=2)
            work(db)

    await trio.to_thread.run_sync(run)


@pytest.mark.parametrize(
    ("kind", "twin"),
    [
        (Client, SyncClient),
        (DeadLetters, SyncDeadLetters),
        (Operating, SyncOperating),
        (Schedules, SyncSchedules),
    ],
)
def test_every_method_has_its_twin(kind: type, twin: type) -> None:
    """Name for name, with the same parameters."""

    def surface(kind: type) -> dict[str, list[str]]:
        members = inspect.getmembers(kind, inspect.isfunction)
        return {n: list(inspect.signature(f).parameters) for n, f in members if n[0] != "_"}

    assert surface(twin) == surface(kind)


async def test_publish_consume_and_settle_without_await(start_node: StartNode) -> None:
    """A block that succeeds acks, one that raises nacks; both times the loop goes on."""

    def work(db: SyncClient) -> None:
        db.publish("t", b"good", message_id="good")
        db.publish("t", b"bad", message_id="bad")
        seen: list[tuple[str, int]] = []
        with db.consume("t", group="g") as events:
            for event in events:
                seen.append((event.message_id, event.attempt))
                if seen[-1] == ("bad", 1):
                    with pytest.raises(RuntimeError), event:
                        raise RuntimeError("no")
                else:
                    with event:
                        assert event.lateness_ms >= 0
                if {("good", 1), ("bad", 2)} <= set(seen):
                    break
        assert sorted(seen) == [("bad", 1), ("bad", 2), ("good", 1)]

    await in_thread(start_node, work)


async def test_many_threads_share_one_client(start_node: StartNode) -> None:
    """Twenty threads publish at once; one drains in batches while they do."""

    def work(db: SyncClient) -> None:
        def publish(n: int) -> None:
            db.publish_many("t", [Event(payload=b"%d" % n) for _ in range(50)])

        threads = [threading.Thread(target=publish, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        counts: dict[bytes, int] = {}
        with db.consume("t", group="g") as events:
            for batch in events.batches(100):
                for event in batch:
                    counts[event.payload] = counts.get(event.payload, 0) + 1
                batch.ack()
                if sum(counts.values()) >= 1000:
                    break
        for thread in threads:
            thread.join()
        assert counts == {b"%d" % n: 50 for n in range(20)}

    await in_thread(start_node, work)


async def test_pending_events_are_an_ordinary_for_loop(start_node: StartNode) -> None:
    """In due order over partitions; leaving early is fine; errors are the same errors."""

    def work(db: SyncClient) -> None:
        base = now_ms() + 3_600_000
        db.publish_many(
            "t",
            [Event(payload=b"", message_id=str(n), schedule_ts=base + n) for n in range(300)],
        )
        assert [int(e.message_id) for e in db.pending("t")] == list(range(300))
        assert next(iter(db.pending("t"))).message_id == "0"
        assert db.cancel("t", "0").outcome == "cancelled"
        assert db.count_pending("t", end=base + 100) == 99
        with pytest.raises(NotFound):
            next(db.pending("nowhere"))

    await in_thread(start_node, work)

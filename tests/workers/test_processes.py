"""Real supervisors with real workers: all cores, one address; whatever ends, nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from chronosdb.client import Client, Event, connect
from tests.process.harness import NodeDied, NodeProcess, free_port, http_get, now_ms

TOPIC = "orders"
PARTITIONS = 8
NAMES = ["worker-1", "worker-2"]


class Workers(NodeProcess):
    """A supervisor, and what can be seen of its workers from outside."""

    def __init__(self, home: Path) -> None:
        self.peers = f"127.0.0.1:{_free_ports(3)}"
        self.http = f"127.0.0.1:{free_port()}"
        super().__init__(home / "data", home / "node.log")
        self.ask_for(2)

    def ask_for(self, workers: int) -> None:
        """How many the next start shall have."""
        places = ("--workers-port", "0", "--peer-listen", self.peers, "--http", self.http)
        self.options = ("--workers", str(workers), *places)

    def pids(self) -> dict[str, int]:
        """The processes that work on this data directory, by the worker's name."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                match = re.search(f"--data-dir={self.data_dir}/([^\0]+)\0", path.read_text())
                if match:
                    found[match[1]] = int(path.parent.name)
        return found

    async def gone(self) -> None:
        """Wait until no worker is left."""
        with trio.fail_after(5):
            while self.pids():  # noqa: ASYNC110 - nobody tells us about grandchildren
                await trio.sleep(0.01)

    async def until_ready(self, *, no: bool = False) -> None:
        """Wait until all workers serve, or until one of them does not."""
        with trio.fail_after(30):
            while (await http_get(self.http, "/ready"))[0] != (503 if no else 200):  # noqa: ASYNC110
                await trio.sleep(0.005)


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = free_port()
        with suppress(OSError, OverflowError):
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
            return first


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Workers]:
    """Two workers that serve."""
    async with AsyncExitStack() as stack:
        workers = await stack.enter_async_context(Workers(tmp_path))
        await workers.start()
        yield workers
        await workers.kill()
        await workers.gone()


def batch(first: int, count: int, due_ms: int) -> list[Event]:
    """Events with ids of their own, which spread them over the partitions."""
    return [
        Event(payload=f"event {n}".encode(), message_id=f"event-{n}", schedule_ts=due_ms)
        for n in range(first, first + count)
    ]


async def read_back(db: Client, count: int) -> None:
    """Consume and ack everything; each event once, as it was."""
    got: dict[str, bytes] = {}
    with trio.fail_after(20):
        async with db.consume(TOPIC, group="billing") as deliveries:
            async for some in deliveries.batches():
                got |= {event.message_id: bytes(event.payload) for event in some}
                await some.ack()
                if len(got) == count:
                    break
    assert got == {f"event-{n}": f"event {n}".encode() for n in range(count)}


@pytest.mark.slow
async def test_what_two_workers_took_is_read_back_and_counted(two: Workers) -> None:
    """One address is enough, partitions are spread, pages are merged, and SIGTERM ends all in order."""
    async with connect(two.address) as db:
        await db.create_topic(TOPIC, partitions=PARTITIONS)
        led = {state.leader for state in await db.cluster.topic(TOPIC)}
        assert sorted(led) == NAMES
        await db.publish_many(TOPIC, batch(0, 400, now_ms()))
        await read_back(db, 400)
    assert await http_get(two.http, "/health") == (200, "OK")
    assert await http_get(two.http, "/ready") == (200, "READY")
    published = {
        sample.labels["worker"]: sample.value
        for family in text_string_to_metric_families((await http_get(two.http, "/metrics"))[1])
        for sample in family.samples
        if sample.name == "chronosdb_events_published_total"
    }
    assert sorted(published) == NAMES
    assert sum(published.values()) == 400
    assert await two.stop() == 0
    assert two.pids() == {}
    assert {name for name in NAMES if f"{name} chronosdb.node.node: " in two.said()} == set(NAMES)


async def until_led_by(db: Client, worker: str) -> None:
    """Wait until a worker leads a partition."""
    with trio.fail_after(20):
        while worker not in {s.leader for s in await db.cluster.topic(TOPIC)}:  # noqa: ASYNC110
            await trio.sleep(0.05)


async def publish_one(db: Client, key: bytes) -> int:
    """Publish one event for much later; its partition."""
    return (await db.publish(TOPIC, b"", key=key, at=now_ms() + 3_600_000)).partition


async def key_away_from(db: Client, worker: str) -> bytes:
    """A key whose events are with the other worker."""
    leaders = {state.partition: state.leader for state in await db.cluster.topic(TOPIC)}
    for key in (f"key-{n}".encode() for n in range(1000)):
        if leaders[await publish_one(db, key)] != worker:
            return key
    raise AssertionError(leaders)


async def kill_and_go_on(two: Workers, db: Client, victim: str, first: int) -> None:
    """Publish to both while one is killed; the other one serves before the killed one is back."""
    before = two.pids()
    async with connect(two.address) as other:
        key = await key_away_from(other, victim)
        os.kill(before[victim], signal.SIGKILL)
        await two.until_ready(no=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(db.publish_many, TOPIC, batch(first, 200, now_ms()))
            served = 0
            while (await http_get(two.http, "/ready"))[0] != 200:
                with trio.fail_after(10):
                    await publish_one(other, key)
                served += 1
            assert served > 0
    assert "lost its lease" not in two.said()
    after = two.pids()
    assert {name for name in NAMES if after[name] != before[name]} == {victim}


@pytest.mark.slow
async def test_a_worker_that_is_killed_comes_back_alone(two: Workers) -> None:
    """The other's partitions take events all the while; what was acked is there when it is back."""
    async with connect(two.address, timeout=30) as db:
        await db.create_topic(TOPIC, partitions=PARTITIONS)
        await db.publish_many(TOPIC, batch(0, 200, now_ms()))
        for number, victim in enumerate(NAMES, 1):
            await kill_and_go_on(two, db, victim, 200 * number)
        await read_back(db, 600)
    page = (await http_get(two.http, "/metrics"))[1]
    for name in NAMES:
        assert f'chronosdb_worker_restarts_total{{worker="{name}"}} 1.0' in page


@pytest.mark.slow
async def test_workers_end_with_their_supervisor_and_grow_in_number(two: Workers) -> None:
    """After `kill -9` nobody is left, a start with fewer is refused, one with more moves partitions."""
    async with connect(two.address) as db:
        await db.create_topic(TOPIC, partitions=PARTITIONS)
        await db.publish_many(TOPIC, batch(0, 200, now_ms()))
    await two.kill()
    await two.gone()
    two.ask_for(1)
    with pytest.raises(NodeDied, match="start 2 workers") as refused:
        await two.start()
    assert refused.value.node_code == 2
    two.ask_for(3)
    await two.start()
    async with connect(two.address) as db:
        await until_led_by(db, "worker-3")
        await read_back(db, 200)

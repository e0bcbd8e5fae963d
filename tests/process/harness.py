"""Real nodes, the real command line, and what a test does with them again and again."""

from __future__ import annotations

import http.client
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import trio

from chronosdb.client import Client, Event, connect
from chronosdb.node.demo.audit import Evidence, gather, read_histories
from chronosdb.node.demo.child import NodeDied, NodeProcess, NodeStuck
from chronosdb.node.demo.tally import Tally
from chronosdb.wal import DataDir, OsDisk

__all__ = [
    "GROUP",
    "TOPIC",
    "Finished",
    "NodeDied",
    "NodeProcess",
    "NodeStuck",
    "chronos",
    "client",
    "consume",
    "consume_all",
    "events",
    "evidence",
    "free_port",
    "http_get",
    "log_files",
    "now_ms",
    "publish",
    "settled",
]

TOPIC = "orders"
GROUP = "billing"


def now_ms() -> int:
    """This machine's clock."""
    return time.time_ns() // 1_000_000


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@asynccontextmanager
async def client(node: NodeProcess, timeout_s: float = 20.0) -> AsyncIterator[Client]:
    """A client of `node`; the topic exists."""
    async with connect(node.address, timeout=timeout_s) as db:
        await db.create_topic(TOPIC)
        yield db


def events(count: int, due_ms: int, prefix: str = "event") -> list[Event]:
    """Events with ids of their own, all due at one time."""
    return [
        Event(payload=f"{prefix} {n} ".encode() * 8, message_id=f"{prefix}-{n}", schedule_ts=due_ms)
        for n in range(count)
    ]


async def publish(db: Client, tally: Tally, batch: Sequence[Event]) -> None:
    """Publish, and file what is answered."""
    tally.expected |= {event.message_id or "": event for event in batch}
    for result in await db.publish_many(TOPIC, batch):
        tally.publish(result)


async def consume(
    db: Client, tally: Tally, mode: str = "ordered", in_doubt: set[str] | None = None
) -> None:
    """Be a member of the group for ever; file and ack everything that comes.

    An ack that is cut off may have reached the log or not: its ids go to `in_doubt`.
    """
    async with db.consume(TOPIC, group=GROUP, mode=mode) as deliveries:
        async for batch in deliveries.batches():
            received_ms = now_ms()
            for event in batch:
                tally.deliver(event, received_ms)
            ids = [event.message_id for event in batch]
            try:
                await batch.ack()
            except trio.Cancelled:
                if in_doubt is not None:
                    in_doubt.update(ids)
                raise
            tally.ack(ids, now_ms())


async def consume_all(db: Client, tally: Tally, timeout_s: float = 20.0) -> None:
    """Consume until every expected event is acked; fails when that takes too long."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume, db, tally)
        with trio.fail_after(timeout_s):
            await settled(tally)
        nursery.cancel_scope.cancel()


async def settled(tally: Tally) -> None:
    """Wait until every expected event is acked."""
    while not tally.complete:  # noqa: ASYNC110 - any of several tasks, in several lives, may be the last
        await trio.sleep(0.01)


def evidence(node: NodeProcess) -> Evidence:
    """What the logs of a node that does not run say."""
    assert not node.running
    directory = DataDir(str(node.data_dir)).partitions
    return gather(read_histories(OsDisk(), directory), GROUP)


def log_files(node: NodeProcess) -> list[Path]:
    """The segments of every partition, oldest first."""
    return sorted(node.data_dir.glob("partitions/*/*.log"))


async def http_get(address: str, path: str) -> tuple[int, str]:
    """Status and body of a GET."""

    def get() -> tuple[int, str]:
        connection = http.client.HTTPConnection(address, timeout=5)
        with closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    return await trio.to_thread.run_sync(get)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


async def chronos(*words: str, node: NodeProcess | None = None, stdin: str = "") -> Finished:
    """Run the installed `chronos` script as a user would, without a terminal."""
    server = ("--server", node.address) if node else ()
    script = str(Path(sys.executable).with_name("chronos"))
    ended = await trio.run_process(
        [script, *server, *words],
        stdin=stdin.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        deliver_cancel=_kill,
    )
    return Finished(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


async def _kill(process: trio.Process) -> None:
    process.send_signal(signal.SIGKILL)

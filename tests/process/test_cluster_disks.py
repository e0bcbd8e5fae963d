"""Three real nodes, one of which has a bad disk, or a full one: the others go on, and it comes right again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from chronosdb.client import Event, connect
from chronosdb.node.demo.tally import Tally
from tests.process.cluster_nodes import Cluster
from tests.process.harness import (
    TOPIC,
    consume_all,
    events,
    log_files,
    now_ms,
    publish,
)
from tests.process.test_failing_disk import MIB, small_disk


async def _until(holds: Callable[[], Awaitable[bool]], within_s: float = 60) -> None:
    with trio.fail_after(within_s):
        while not await holds():  # noqa: ASYNC110 - another process makes it so
            await trio.sleep(0.2)


@pytest.mark.slow
async def test_flipped_bytes_are_mended_by_the_others(tmp_path: Path) -> None:
    """In the log of who led: it starts all the same, and everything is delivered once."""
    cluster, tally = Cluster(tmp_path, ("--http", "off")), Tally()
    async with cluster.running():
        async with connect(cluster.servers, timeout=30) as db:
            await db.create_topic(TOPIC)
            for n in range(12):
                await publish(db, tally, events(10, now_ms(), f"batch-{n}"))
        [leader] = await cluster.leaders(TOPIC)
        await cluster.kill(leader)
        node = cluster[leader].process
        [segment] = log_files(node)
        content = bytearray(segment.read_bytes())
        for n in (3, 4):
            content[content.index(f"batch-{n} 5".encode())] ^= 1
        segment.write_bytes(content)
        await cluster.start(leader)

        async def mended() -> bool:
            return node.said().count("put right as node") == 2

        await _until(mended)
        async with connect(cluster.servers, timeout=30) as db:
            await publish(db, tally, events(10, now_ms(), "after"))
            await consume_all(db, tally, timeout_s=60)
        await _until(lambda: cluster.level(TOPIC))
        assert (tally.altered, tally.early, tally.after_ack) == (0, 0, 0)


@pytest.mark.slow
async def test_a_node_with_a_full_disk_lets_others_lead(tmp_path: Path) -> None:
    """Publishing goes on without it; when there is space it is in sync again, without being started."""
    with small_disk(tmp_path / "n2", 24 * MIB) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(12 * MIB))
        cluster = Cluster(
            tmp_path, ("--http", "off", "--disk-reserve", "4MiB", "--replica-lag-max", "1s")
        )
        tally = Tally()
        async with cluster.running():
            node = cluster["n2"].process
            async with connect(cluster.servers, timeout=60) as db:
                await db.create_topic(TOPIC)
                await cluster.command("transfer", "n2", "--topic", TOPIC, "--partition", "0")
                n = 0
                with trio.fail_after(90):
                    while "the disk is full" not in node.said():
                        n += 1
                        await publish(db, tally, _large(f"batch-{n}"))
                    while await cluster.leaders(TOPIC) in (["n2"], [""]):  # noqa: ASYNC110
                        await trio.sleep(0.2)
                for m in range(n, n + 3):
                    await publish(db, tally, _large(f"more-{m}"))
                assert node.running
                ballast.unlink()

                async def may_lead() -> bool:
                    return "this node may lead" in node.said()

                await _until(may_lead)
                await _until(lambda: cluster.level(TOPIC))
                await consume_all(db, tally, timeout_s=60)
        assert (tally.altered, tally.early, tally.after_ack) == (0, 0, 0)
        assert len(tally.published) == len(tally.expected)


def _large(prefix: str) -> list[Event]:
    """About 100 KiB."""
    return [Event(payload=bytes(10_000), message_id=f"{prefix}-{n}") for n in range(10)]

"""A disk that is full, and one that fails: the first is waited out, the second ends the node."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from chronosdb.client import ChronosError, Client, Overloaded
from chronosdb.node.demo.tally import Tally
from tests.process.conftest import StartNode
from tests.process.harness import client, consume, events, evidence, now_ms, publish, settled

MIB = 1024 * 1024


@contextmanager
def small_disk(directory: Path, nbytes: int) -> Iterator[Path]:
    """A file system of its own in memory; skips the test where mounting is not allowed."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={nbytes}", "tmpfs", str(directory)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(command)}: {done.stderr.decode().strip()}")
    try:
        yield directory
    finally:
        # Lazily: the node is killed only after this, when the fixtures are taken down.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


async def publish_until_refused(db: Client, tally: Tally, size: int) -> None:
    """Publish batch after batch; raises why the node does not take any more."""
    for n in range(10_000):
        await publish(db, tally, events(size, now_ms() + 500, f"batch-{n}"))


@pytest.mark.slow
async def test_a_full_disk_stops_publishers_only(start_node: StartNode, tmp_path: Path) -> None:
    """Publishers are told; events still fire and are acked; with space, publishing goes on."""
    with small_disk(tmp_path / "disk", 16 * MIB) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(6 * MIB))
        node = await start_node("--disk-reserve", "4MiB", data_dir=disk / "data")
        tally = Tally()
        async with client(node, timeout_s=1.5) as db, trio.open_nursery() as nursery:
            with pytest.raises(Overloaded, match="no disk space"):
                await publish_until_refused(db, tally, 500)
            refused = tally.expected.keys() - tally.published.keys()
            tally.expected = {i: e for i, e in tally.expected.items() if i not in refused}
            nursery.start_soon(consume, db, tally)
            with trio.fail_after(20):
                await settled(tally)
            ballast.unlink()
            await publish(db, tally, events(10, now_ms(), "after"))
            with trio.fail_after(20):
                await settled(tally)
            nursery.cancel_scope.cancel()
        assert len(tally.published) > 500
        assert await node.stop() == 0
        found = evidence(node)
        assert (found.violations, found.unsettled) == ([], 0)
        assert found.stored.keys() == tally.published.keys()
        assert (tally.altered, tally.early, tally.after_ack) == (0, 0, 0)


@pytest.mark.slow
async def test_a_failed_fsync_ends_the_node(start_node: StartNode) -> None:
    """After the first failed fsync nothing is answered, the node exits with 1, and no answer was a lie."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    node, tally = await start_node(), Tally()
    async with client(node):
        pass
    assert await node.stop() == 0
    # -D: the tracer is the child, so that the process we started is the node.
    node.wrapper = (
        *(strace, "-D", "-f", "-qq", "-o", "/dev/null"),
        *("-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=60+"),
    )
    await node.start()
    async with client(node, timeout_s=1) as db:
        with pytest.raises(ChronosError):
            await publish_until_refused(db, tally, 5)
    assert await node.ended() == 1
    assert "Input/output error" in node.said()
    assert "accepts nothing more" in node.said()
    assert "Traceback" not in node.said()

    node.wrapper = ()
    answered = {i: tally.expected[i] for i in tally.published}
    assert len(answered) >= 5
    await node.start()
    async with client(node) as db:
        await publish(db, tally, list(answered.values()))
    assert tally.recognised == tally.republished == len(answered)
    assert await node.stop() == 0
    assert evidence(node).violations == []

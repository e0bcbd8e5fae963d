"""A node that cannot start says why in one line, exits with 1, and harms nobody."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.conftest import StartNode
from tests.process.harness import NodeDied, client, free_port, http_get


def last_line(error: NodeDied) -> str:
    """What the node said at the end; it never shows a traceback."""
    assert "Traceback" not in str(error)
    return str(error).splitlines()[-1]


@pytest.mark.slow
async def test_health_and_readiness(start_node: StartNode) -> None:
    """A serving node answers /health with OK and /ready with READY."""
    address = f"127.0.0.1:{free_port()}"
    await start_node("--http", address)
    assert await http_get(address, "/health") == (200, "OK")
    assert await http_get(address, "/ready") == (200, "READY")
    assert (await http_get(address, "/nope"))[0] == 404


@pytest.mark.slow
async def test_a_port_in_use(start_node: StartNode, tmp_path: Path) -> None:
    """The second node on one port names the address; the first goes on."""
    first = await start_node()
    with pytest.raises(NodeDied) as refused:
        await start_node("--listen", first.address, data_dir=tmp_path / "other")
    assert refused.value.node_code == 1
    assert "error" in last_line(refused.value)
    assert first.address in last_line(refused.value)
    async with client(first) as db:
        await db.ping()


@pytest.mark.slow
async def test_an_http_port_in_use(start_node: StartNode, tmp_path: Path) -> None:
    """So does a node whose HTTP port is taken."""
    first = await start_node()
    with pytest.raises(NodeDied) as refused:
        await start_node("--http", first.address, data_dir=tmp_path / "other")
    assert refused.value.node_code == 1
    assert first.address in last_line(refused.value)


@pytest.mark.slow
async def test_a_second_node_on_one_directory(start_node: StartNode) -> None:
    """The second node names the process that holds the directory; the first goes on."""
    first = await start_node()
    with pytest.raises(NodeDied) as refused:
        await start_node()
    assert refused.value.node_code == 1
    assert f"in use by process {first.pid}" in last_line(refused.value)
    async with client(first) as db:
        await db.ping()


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """A mount that even root cannot write to; skips the test where mounting is not allowed."""
    directory.mkdir()
    for command in (
        ["mount", "--bind", str(directory), str(directory)],
        ["mount", "-o", "remount,ro,bind", str(directory)],
    ):
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"{' '.join(command)}: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.slow
async def test_a_read_only_directory(start_node: StartNode, tmp_path: Path) -> None:
    """A node that may not write says so and names the path."""
    directory = tmp_path / "read-only"
    with read_only(directory), pytest.raises(NodeDied) as refused:
        await start_node(data_dir=directory)
    assert refused.value.node_code == 1
    assert "Read-only file system" in last_line(refused.value)
    assert str(directory) in last_line(refused.value)

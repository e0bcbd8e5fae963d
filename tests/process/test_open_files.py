"""A node may have more files open than a shell's default allows."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.conftest import StartNode
from tests.process.harness import client

LIMIT = 64
#: The store of views, the metadata, listeners, pipes.
FILES_OF_A_NODE = 40


@contextmanager
def few_files() -> Iterator[None]:
    """What is started meanwhile may have few files open, until it raises that itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard <= 3 * LIMIT:
        pytest.skip("the system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files(pid: int) -> int:
    """How many it has, of any kind."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_more_partitions_than_open_files_by_default(start_node: StartNode) -> None:
    """A node raises the limit that it was started with as far as the system lets it."""
    with few_files():
        node = await start_node()
    async with client(node) as db:
        await db.create_topic("wide", 2 * LIMIT)
        assert not (await db.publish("wide", b"x")).duplicate


async def test_a_partition_at_rest_has_one_file_open(start_node: StartNode) -> None:
    """After a crash and a start all logs are open for writing, and none for reading."""
    node = await start_node()
    async with client(node) as db:
        await db.create_topic("wide", 2 * LIMIT)
        for n in range(2 * LIMIT):
            await db.publish("wide", b"x", key=b"%d" % n)
    await node.kill()
    await node.start()
    async with client(node) as db:
        assert (await db.topic("wide")).partitions == 2 * LIMIT
    assert open_files(node.pid) < 2 * LIMIT + FILES_OF_A_NODE

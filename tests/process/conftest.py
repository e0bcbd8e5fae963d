"""A place for nodes that are gone when the test is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.process.harness import NodeProcess


class StartNode(Protocol):
    """Starts a node and waits until it serves."""

    async def __call__(
        self, *options: str, data_dir: Path | None = None, wrapper: tuple[str, ...] = ()
    ) -> NodeProcess: ...


@pytest.fixture
async def start_node(tmp_path: Path) -> AsyncIterator[StartNode]:
    """Starts nodes, by default all on one data directory; none outlives the test."""
    async with AsyncExitStack() as stack:

        async def start(
            *options: str, data_dir: Path | None = None, wrapper: tuple[str, ...] = ()
        ) -> NodeProcess:
            http = () if "--http" in options else ("--http", "off")
            node = NodeProcess(
                data_dir or tmp_path / "data",
                tmp_path / "node.log",
                (*http, *options),
                wrapper=wrapper,
            )
            await stack.enter_async_context(node)
            await node.start()
            return node

        yield start

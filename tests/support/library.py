"""The client library, connected to a node in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chronosdb.client import Client, Seams, connect
from tests.support.in_process import Broker


@asynccontextmanager
async def library(node: Broker, name: str = "library") -> AsyncIterator[Client]:
    """A client whose clock is the node's; it stays connected over the node's restarts."""
    seams = Seams(now_ms=lambda: node.now_ms, unit=lambda: 0.0)
    async with connect(
        "node:9000", client_name=name, stream_factory=node.network.dial, seams=seams, timeout=60
    ) as db:
        yield db

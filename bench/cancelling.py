"""What a client process does that cancels events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import anyio

from bench.errors import BenchError
from bench.stopwatch import Spent, Stopwatch
from chronosdb.client import Client, connect

#: Cancellations in flight at one time.
CALLERS: Final = 16


async def cancel(address: str, topic: str, message_ids: Sequence[str]) -> Spent:
    """Cancel these events one by one.

    Raises:
        BenchError: one was not pending.
    """
    async with connect(address, timeout=60) as db:
        ids = iter(message_ids)
        watch = Stopwatch()
        async with anyio.create_task_group() as callers:
            for _ in range(CALLERS):
                callers.start_soon(_cancel, db, topic, ids)
        return watch.spent()


async def _cancel(db: Client, topic: str, message_ids: Iterator[str]) -> None:
    for message_id in message_ids:
        found = await db.cancel(topic, message_id)
        if found.outcome != "cancelled":
            raise BenchError(f"{message_id} should be pending and is {found.outcome}")

"""Workers that come and go, as the small cluster has to hear it."""

from __future__ import annotations

from collections.abc import Sequence

from chronosdb.client import Client
from chronosdb.node.configuration.config import Config
from chronosdb.node.workers.places import name_of, peer_address


async def admit(db: Client, config: Config, numbers: Sequence[int]) -> None:
    """Let workers in that are new, or were drained."""
    for number in numbers:
        await db.cluster.add(name_of(number), str(peer_address(config, number)))
        await db.cluster.drain(name_of(number), undo=True)


async def retire(db: Client, numbers: Sequence[int]) -> None:
    """Give nothing to workers that are not started: they hold nothing, and come back empty."""
    for number in numbers:
        await db.cluster.drain(name_of(number))

"""Publishes that wait for all replicas."""

from __future__ import annotations

from typing import cast

import trio
import trio.testing

from chronosdb.node.partition.acks import Replication
from chronosdb.node.partition.late_answers import LateAnswers
from chronosdb.node.partition.staging import Proposal


class Replicas:
    """They have everything as soon as they are told so."""

    def __init__(self) -> None:
        self.level = trio.Event()

    async def everywhere(self, _lsn: int) -> None:
        """Wait for that."""
        await self.level.wait()


async def test_taken_at_the_moment_they_could_be_answered() -> None:
    """A leader that is deposed just when all replicas have an event answers it once, and lives on."""
    replicas = Replicas()
    late = LateAnswers(cast("Replication", replicas))
    proposal = cast("Proposal", object())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(late.run)
        late.add(1, proposal)
        await trio.testing.wait_all_tasks_blocked()
        replicas.level.set()
        assert late.take_all() == [proposal]
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

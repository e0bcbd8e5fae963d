"""The controller's commands, many at once, none waited for too long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import trio

from chronosdb.node.metadata import Metadata
from chronosdb.raft import AlterPartitions, Command, Move, PartitionChange, PlanMoves
from chronosdb.raft.limits import PARTITION_CHANGES_MAX
from chronosdb.wire.errors import ChronosError

logger = logging.getLogger(__name__)

#: A leader that cannot commit is none for much longer, and the next one decides anew.
_TIMEOUT_S: Final = 2.0
#: Of a batch nothing is done if one change is late: then the others go once more, without it.
_ATTEMPTS: Final = 2

T = TypeVar("T")


async def alter(metadata: Metadata, changes: Sequence[PartitionChange]) -> None:
    """Submit changes of partitions. What does not fit any more is left for the next look at the view."""
    for _ in range(_ATTEMPTS):
        topics = metadata.view.topics
        fresh = [
            one
            for one in changes
            if one.topic in topics and topics[one.topic].versions[one.partition] == one.version
        ]
        await submit_all(metadata, in_batches(AlterPartitions, fresh))


async def plan(metadata: Metadata, moves: Sequence[Move]) -> None:
    """Submit moves, as `alter` does."""
    await submit_all(metadata, in_batches(PlanMoves, moves))


async def submit_all(metadata: Metadata, commands: Sequence[Command]) -> None:
    """Submit commands that do not depend on each other."""
    async with trio.open_nursery() as nursery:
        for command in commands:
            nursery.start_soon(partial(_submit, metadata, command))


async def _submit(metadata: Metadata, command: Command) -> None:
    with trio.move_on_after(_TIMEOUT_S):
        try:
            await metadata.submit(command)
        except ChronosError as error:
            logger.info("%s was not done: %s", type(command).__name__, error)


def in_batches(make: Callable[[tuple[T, ...]], Command], items: Sequence[T]) -> list[Command]:
    """Commands for many items, each with as many as fit."""
    size = PARTITION_CHANGES_MAX
    return [make(tuple(items[start : start + size])) for start in range(0, len(items), size)]

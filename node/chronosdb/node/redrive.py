"""Dead letters, as those see them who deal with them: what the redrive group has not settled.

The group is an ordinary one that nobody is a member of. It is made when the first letter is settled;
until then every letter is open. So a letter is redriven, or purged, for good when its SETTLE record is
on disk, and resetting the group brings all of them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from chronosdb.node.broker import Broker
from chronosdb.node.consumers import Consumers
from chronosdb.node.partition.delivery import deliveries
from chronosdb.node.partition.expiry import Sieve
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.records import Run, SettleReason
from chronosdb.node.reply import Reply
from chronosdb.sched import Grant
from chronosdb.wire.errors import ChronosError
from chronosdb.wire.messages import REDRIVE_GROUP, DeadLettersPage


class Redrive:
    """The dead letters of a node's dead-letter topics."""

    def __init__(self, broker: Broker, consumers: Consumers) -> None:
        self._broker = broker
        self._consumers = consumers

    def page(
        self, request: int, topic: str, partition: int, position: int, limit: int
    ) -> DeadLettersPage:
        """Open letters at `position` and above: at most `limit`, and about a frame of them.

        Raises:
            NotFound: no such topic or partition.
            DamagedRecord: an event's bytes on disk are not what was written.
        """
        found = self._broker.partition(topic, partition)
        runs = _first(limit, _open(found, position))
        if not runs:
            nothing = memoryview(b"")
            return DeadLettersPage(request, nothing, nothing, nothing, nothing, None)
        grants = [Grant(start, stop, 1) for start, stop in runs]
        frames = deliveries(
            found.reader,
            grants,
            subscription=0,
            partition=partition,
            sent_ms=0,
            sieve=Sieve(None),
        )
        [(frame, _)] = islice(frames, 1)
        behind = frame.positions.cast("q")[-1] + 1
        more = behind if _open(found, behind) else None
        return DeadLettersPage(
            request, frame.positions, frame.offsets, frame.published, frame.batch, more
        )

    async def settle(
        self, topic: str, partition: int, runs: Iterable[Run], reason: SettleReason
    ) -> None:
        """These letters were dealt with; returns when that is on disk.

        Raises:
            NotFound: no such topic or partition.
            NotLeader: another node leads it.
            Overloaded: the redrive group is being reset or deleted.
        """
        self._broker.partition(topic, partition)
        async with self._consumers.alone(topic, REDRIVE_GROUP):
            self._consumers.claims.check((topic, REDRIVE_GROUP))
            await self._consumers.open(topic, REDRIVE_GROUP, "shared", "earliest")
            reply = Reply[ChronosError | None]()
            found = self._broker.partition(topic, partition)
            found.dispatcher.purge(REDRIVE_GROUP, runs, reason, reply.set)
        error = await reply.get()
        if error is not None:
            raise error


def _open(partition: Partition, position: int) -> list[Run]:
    """The positions from `position` on that the redrive group has not settled."""
    end = partition.committer.end_position
    position = max(position, partition.state.first_position)
    if position >= end:
        return []
    group = partition.state.groups.get(REDRIVE_GROUP)
    return [(position, end)] if group is None else group.cursor.unsettled(position, end)


def _first(limit: int, runs: Sequence[Run]) -> list[Run]:
    """As much of `runs` as `limit` positions."""
    taken: list[Run] = []
    for start, stop in runs:
        if limit <= 0:
            break
        taken.append((start, min(stop, start + limit)))
        limit -= taken[-1][1] - start
    return taken

"""Publishing: events to columns, columns to partitions, frames in flight, results back in order."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Final, NamedTuple

from chronosdb.client.cluster import Cluster
from chronosdb.client.columns import Columns, columns_of, picked
from chronosdb.client.connection import Ask
from chronosdb.client.ids import IdMaker
from chronosdb.client.leaders import Partition
from chronosdb.client.results import PublishResult
from chronosdb.wire import Event, partition_for
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ProtocolError

#: Encoded events of one `publish_many` that may be on their way at once.
IN_FLIGHT_BYTES: Final = 8 * 1024 * 1024


class _Piece(NamedTuple):
    """Events that travel in one frame: their indices among all of the call's."""

    partition: int
    indices: Sequence[int]


async def publish_events(
    cluster: Cluster,
    topic: str,
    partitions: int,
    events: Sequence[Event],
    new_ids: IdMaker,
    *,
    acks: int | None,
) -> list[PublishResult]:
    """Store `events`; one result each, in their order. `acks` as in `Publish`.

    Ids are fixed before the first attempt, so that however often a frame is sent, each of its events
    is stored once.

    Raises:
        ChronosError: of the first frame that failed; other frames may be stored.
    """
    if not events:
        return []
    columns = columns_of(events, new_ids)
    pieces = [
        _Piece(partition, indices)
        for partition, group in columns.by_partition(partitions).items()
        for indices in columns.cut(group)
    ]
    asks = _asks(topic, columns, pieces, acks)
    answers = await cluster.call_all(asks, m.Published, IN_FLIGHT_BYTES)
    return _in_order(columns, pieces, answers)


def partition_of(event: Event, partitions: int) -> int:
    """Where an event with an id goes, of so many partitions."""
    if partitions == 1:
        return 0
    assert event.message_id is not None
    return partition_for(event.key, event.message_id.encode(), partitions)


def _asks(
    topic: str, columns: Columns, pieces: Sequence[_Piece], acks: int | None
) -> Iterator[tuple[Partition, Ask, int]]:
    """The requests; each is encoded only when there is room for it in flight."""
    for piece in pieces:
        partition = Partition(topic, piece.partition)
        batch = memoryview(columns.encode(piece.indices))
        yield partition, publish_request(partition, batch, acks), len(batch)


def publish_request(partition: Partition, batch: memoryview, acks: int | None = None) -> Ask:
    """Stores an encoded batch in a partition."""
    return lambda request: m.Publish(request, partition.topic, partition.number, batch, acks)


def _in_order(
    columns: Columns, pieces: Sequence[_Piece], answers: Sequence[m.Published]
) -> list[PublishResult]:
    found = [
        _results(columns, piece, answer) for piece, answer in zip(pieces, answers, strict=True)
    ]
    if len(found) == 1:
        return found[0]
    by_index = {
        index: result
        for piece, results in zip(pieces, found, strict=True)
        for index, result in zip(piece.indices, results, strict=True)
    }
    return [by_index[index] for index in range(len(columns.ids))]


def _results(columns: Columns, piece: _Piece, answer: m.Published) -> list[PublishResult]:
    names = picked(columns.message_ids, piece.indices)
    count = len(names)
    offsets: Sequence[int] = range(answer.first_offset, answer.first_offset + count)
    duplicates: Sequence[bool] = [False] * count
    if answer.offsets or answer.duplicates:
        if len(answer.offsets) != 8 * count or len(answer.duplicates) != count:
            raise ProtocolError(f"a reply to {count} events does not have {count} entries")
        offsets = array("q", answer.offsets)
        duplicates = [flag != 0 for flag in answer.duplicates]
    return list(map(PublishResult, names, repeat(piece.partition), offsets, duplicates))

"""Finding one event by its id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chronosdb.client.cluster import Cluster
from chronosdb.client.connection import Ask
from chronosdb.client.leaders import Partition
from chronosdb.client.results import StoredEvent, stored_event
from chronosdb.wire import messages as m
from chronosdb.wire import partition_for

#: Partitions asked at once.
IN_FLIGHT: Final = 64


async def find_event(
    cluster: Cluster, topic: str, partitions: int, message_id: bytes, key: bytes | None
) -> StoredEvent | None:
    """The event with this id: in its key's partition, or without `key` in its own and then in any."""
    home = partition_for(key, message_id, partitions)
    found = await _find_in(cluster, topic, message_id, (home,))
    if found is not None or key is not None:
        return found
    others = (partition for partition in range(partitions) if partition != home)
    return await _find_in(cluster, topic, message_id, others)


async def _find_in(
    cluster: Cluster, topic: str, message_id: bytes, partitions: Iterable[int]
) -> StoredEvent | None:
    asked = [Partition(topic, number) for number in partitions]
    asks = ((partition, _get(partition, message_id), 1) for partition in asked)
    replies = await cluster.call_all(asks, m.GetReply, IN_FLIGHT)
    for partition, reply in zip(asked, replies, strict=True):
        if reply.state:
            return stored_event(partition.number, reply)
    return None


def _get(partition: Partition, message_id: bytes) -> Ask:
    return lambda request: m.Get(request, partition.topic, partition.number, message_id)

"""Finding one event by its id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chronosdb.client.connection import Ask
from chronosdb.client.link import Link
from chronosdb.client.results import StoredEvent, stored_event
from chronosdb.wire import messages as m
from chronosdb.wire import partition_for

#: Partitions asked at once.
IN_FLIGHT: Final = 64


async def find_event(
    link: Link, topic: str, partitions: int, message_id: bytes, key: bytes | None
) -> StoredEvent | None:
    """The event with this id: in its key's partition, or without `key` in its own and then in any."""
    home = partition_for(key, message_id, partitions)
    found = await _find_in(link, topic, message_id, (home,))
    if found is not None or key is not None:
        return found
    others = (partition for partition in range(partitions) if partition != home)
    return await _find_in(link, topic, message_id, others)


async def _find_in(
    link: Link, topic: str, message_id: bytes, partitions: Iterable[int]
) -> StoredEvent | None:
    asked = list(partitions)
    asks = ((_get(topic, partition, message_id), 1) for partition in asked)
    replies = await link.call_all(asks, m.GetReply, IN_FLIGHT)
    for partition, reply in zip(asked, replies, strict=True):
        if reply.state:
            return stored_event(partition, reply)
    return None


def _get(topic: str, partition: int, message_id: bytes) -> Ask:
    return lambda request: m.Get(request, topic, partition, message_id)

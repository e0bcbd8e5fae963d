"""What the client's requests return."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from chronosdb.client.meta import decode_meta
from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m
from chronosdb.wire.event import MetaValue


# A msgspec struct, because there is one per event, and which the collector of cycles need not look at.
class PublishResult(msgspec.Struct, frozen=True, gc=False):
    """Where an event is stored. `duplicate`: it was already; the offset is that of the first time."""

    message_id: str
    partition: int
    offset: int
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as its partition knows it. `state` is "pending" (not yet due), "fired" or "cancelled"."""

    state: str
    message_id: str
    payload: bytes
    meta: dict[str, MetaValue]
    key: bytes | None
    #: Epoch ms at which it is due.
    schedule_ts: int
    #: Epoch ms from which on it is not delivered any more, None: there is no such time.
    expires_ts: int | None = None
    #: Epoch ms at which the leader stored it.
    published_ts: int
    partition: int
    offset: int


def stored_event(partition: int, reply: m.GetReply) -> StoredEvent:
    """The event in `reply`.

    Raises:
        ProtocolError: the reply does not hold one whole event.
    """
    batch = EventBatch(reply.batch)
    return StoredEvent(
        state=reply.state,
        message_id=text_id(batch.message_id(0)),
        payload=batch.payload(0),
        meta=decode_meta(batch.meta(0)),
        key=batch.key(0),
        schedule_ts=batch.due[0],
        expires_ts=batch.expires(0),
        published_ts=reply.published_ms,
        partition=partition,
        offset=reply.offset,
    )


def text_id(message_id: bytes) -> str:
    """The id as text. Bytes that are not UTF-8, as other clients may send, are escaped."""
    return message_id.decode(errors="backslashreplace")

"""One event of a frame that has come: its fields are decoded when they are asked for."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from chronosdb.client.meta import decode_meta
from chronosdb.client.results import text_id
from chronosdb.wire import EventBatch
from chronosdb.wire.event import MetaValue


class Columns(Protocol):
    """A checked frame: columns of equal length, and the partition that they are about."""

    @property
    def batch(self) -> EventBatch:
        """The events."""

    @property
    def partition(self) -> int:
        """Where all of them are."""

    @property
    def offsets(self) -> memoryview:
        """i64: their places in publish order."""

    @property
    def published(self) -> memoryview:
        """i64: when they were stored, epoch ms."""


C = TypeVar("C", bound=Columns)


class EventView(Generic[C]):
    """What every event has, whichever way it came: row `_index` of `_chunk`."""

    __slots__ = ("_chunk", "_index")

    def __init__(self, chunk: C, index: int) -> None:
        self._chunk = chunk
        self._index = index

    @property
    def message_id(self) -> str:
        """The id it was published under."""
        return text_id(self._chunk.batch.message_id(self._index))

    @property
    def payload(self) -> bytes:
        """What was published."""
        return self._chunk.batch.payload(self._index)

    @property
    def meta(self) -> dict[str, MetaValue]:
        """Its headers; raises ProtocolError when the publisher sent something else."""
        return decode_meta(self._chunk.batch.meta(self._index))

    @property
    def key(self) -> bytes | None:
        """Its routing key, None when it has none."""
        return self._chunk.batch.key(self._index)

    @property
    def schedule_ts(self) -> int:
        """Epoch ms at which it was due."""
        return self._chunk.batch.due[self._index]

    @property
    def expires_ts(self) -> int | None:
        """Epoch ms from which on it is not delivered any more, None: there is no such time."""
        return self._chunk.batch.expires(self._index)

    @property
    def published_ts(self) -> int:
        """Epoch ms at which the leader stored it."""
        published: int = self._chunk.published[self._index]
        return published

    @property
    def partition(self) -> int:
        """The partition it is in."""
        return self._chunk.partition

    @property
    def offset(self) -> int:
        """Its place in the partition's publish order."""
        offset: int = self._chunk.offsets[self._index]
        return offset

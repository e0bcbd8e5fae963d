"""The events of one Deliver frame, as columns, and which of them are settled."""

from __future__ import annotations

from typing import Literal, NamedTuple

from chronosdb.client.attachment import Attachment
from chronosdb.client.runs import Run, runs_of
from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ProtocolError


class Chunk:
    """A checked, read-only view of a Deliver frame, but for the marks of what is settled."""

    __slots__ = (
        "attachment",
        "attempts",
        "batch",
        "offsets",
        "partition",
        "positions",
        "published",
        "sent_ms",
        "settled",
    )

    def __init__(self, message: m.Deliver, attachment: Attachment) -> None:
        """Raises ProtocolError when the columns do not agree."""
        self.batch = EventBatch(message.batch)
        count = self.batch.count
        #: Who holds the leases.
        self.attachment = attachment
        self.partition = message.partition
        self.sent_ms = message.sent_ms
        self.positions = _column("positions", message.positions, "q", 8 * count)
        self.offsets = _column("offsets", message.offsets, "q", 8 * count)
        self.published = _column("published", message.published, "q", 8 * count)
        self.attempts = _column("attempts", message.attempts, "H", 2 * count)
        #: One byte per event: 1 once the application has acked it or given it back.
        self.settled = bytearray(count)


class Slice(NamedTuple):
    """Events `start` … `stop` - 1 of a chunk."""

    chunk: Chunk
    start: int
    stop: int

    def settle(self) -> int:
        """Mark these as settled; how many were not."""
        settled = self.chunk.settled
        newly = settled.count(0, self.start, self.stop)
        settled[self.start : self.stop] = b"\x01" * (self.stop - self.start)
        return newly

    def runs(self) -> list[Run]:
        """Their positions."""
        return runs_of(self.chunk.positions[self.start : self.stop].tolist())


def _column(
    name: str, raw: memoryview, kind: Literal["q", "H"], expected_bytes: int
) -> memoryview[int]:
    if len(raw) != expected_bytes:
        raise ProtocolError(f"column {name} has {len(raw)} bytes, not {expected_bytes}")
    return raw.cast("B").cast(kind)

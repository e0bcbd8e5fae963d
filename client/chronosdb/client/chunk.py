"""The events of one Deliver frame, as columns, and which of them are settled."""

from __future__ import annotations

from typing import NamedTuple

from chronosdb.client.attachment import Attachment
from chronosdb.client.checked_column import checked_column
from chronosdb.client.runs import Run, runs_of
from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m


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
        self.positions = checked_column("positions", message.positions, count)
        self.offsets = checked_column("offsets", message.offsets, count)
        self.published = checked_column("published", message.published, count)
        self.attempts = checked_column("attempts", message.attempts, count, "H")
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

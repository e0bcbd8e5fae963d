"""A replayed event, and the frame that its fields are decoded from when asked for."""

from __future__ import annotations

from collections.abc import Mapping

from chronosdb.client.checked_column import checked_column
from chronosdb.client.event_view import EventView
from chronosdb.client.replay.terms import ReplayTerms
from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m
from chronosdb.wire.messages.replay import ReplayBy


class ReplayChunk:
    """A checked, read-only view of a Replayed frame."""

    __slots__ = ("batch", "by", "fired", "offsets", "partition", "positions", "published", "times")

    def __init__(self, message: m.Replayed, by: ReplayBy, partition: int) -> None:
        """Raises ProtocolError when the columns do not agree."""
        self.by = by
        self.partition = partition
        self.batch = EventBatch(message.batch)
        count = self.batch.count
        known = count if by == "fired" else 0
        self.offsets = checked_column("offsets", message.offsets, count)
        self.published = checked_column("published", message.published, count)
        self.positions = checked_column("positions", message.positions, known)
        self.fired = checked_column("fired", message.fired, known)
        #: By which events of several partitions are merged, and paced.
        self.times = {"scheduled": self.batch.due, "fired": self.fired}.get(by, self.published)

    def place_after(self, index: int, until: int) -> m.ReplayPlace:
        """The place behind an event."""
        if self.by == "scheduled":
            return m.ReplayPlace(until, self.batch.due[index], self.offsets[index])
        column = self.positions if self.by == "fired" else self.offsets
        return m.ReplayPlace(until, column[index] + 1, 0)


class ReplayedEvent(EventView[ReplayChunk]):
    """An event as it is stored. There is nothing to ack: a replay touches no group.

    `schedule_ts` is: by "scheduled", as rescheduled before the replay began; by "fired", when it was
    due when it fired; else as published.
    """

    __slots__ = ("_terms", "_trail", "_until")

    def __init__(
        self,
        terms: ReplayTerms,
        chunk: ReplayChunk,
        index: int,
        *,
        until: int,
        trail: Mapping[int, m.ReplayPlace],
    ) -> None:
        super().__init__(chunk, index)
        self._terms = terms
        self._until = until
        #: How far the other partitions had come. Invariant: never changed.
        self._trail = trail

    @property
    def fired_ts(self) -> int | None:
        """Epoch ms at which it fired; None unless the replay is by "fired"."""
        return self._chunk.fired[self._index] if self._chunk.fired else None

    @property
    def position(self) -> int | None:
        """Its place in the partition's delivery order; None unless the replay is by "fired"."""
        return self._chunk.positions[self._index] if self._chunk.positions else None

    @property
    def token(self) -> bytes:
        """Resumes behind this event: give it to `replay` together with the same arguments."""
        place = self._chunk.place_after(self._index, self._until)
        return self._terms.token({**self._trail, self.partition: place})

    def __repr__(self) -> str:
        return (
            f"<ReplayedEvent {self.message_id!r} partition={self.partition} offset={self.offset}>"
        )

"""What a topic takes in: how far ahead, and how much at a time."""

from __future__ import annotations

from dataclasses import dataclass

from chronosdb.wire.errors import InvalidArgument, Overloaded
from chronosdb.wire.units import format_duration


@dataclass(frozen=True, slots=True)
class Limits:
    """A topic's limits for each of its partitions; 0: no limit."""

    topic: str
    #: From the moment an event is stored, or moved, to its due time.
    max_delay_ms: int
    #: Events stored, neither fired nor cancelled.
    max_pending: int

    def check_due(self, due_ms: int, now_ms: int) -> None:
        """That an event may be due at `due_ms`.

        Raises:
            InvalidArgument: it is too far ahead.
        """
        if self.max_delay_ms and due_ms - now_ms > self.max_delay_ms:
            raise InvalidArgument(
                f"schedule_ts {due_ms} is {format_duration(due_ms - now_ms)} ahead; topic"
                f" {self.topic!r} takes events at most {format_duration(self.max_delay_ms)} ahead"
                f" (max_delay_ms={self.max_delay_ms})"
            )

    def check_pending(self, pending: int, more: int) -> None:
        """That `more` events may wait besides those that are `pending`.

        Raises:
            Overloaded: they would be too many.
            InvalidArgument: they are too many by themselves.
        """
        if 0 < self.max_pending < more:
            raise InvalidArgument(
                f"{more} events that are not due yet in one batch; a partition of topic"
                f" {self.topic!r} takes {self.max_pending} (max_pending): publish fewer at a time"
            )
        if self.max_pending and pending + more > self.max_pending:
            raise Overloaded(
                f"{pending} events are pending in this partition of topic {self.topic!r}, which"
                f" takes {self.max_pending} (max_pending); {more} more have to wait until some fire"
            )

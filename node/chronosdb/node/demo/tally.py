"""What was published, and what became of each event: the book that is compared with the promises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chronosdb.client import Delivery, Event, PublishResult

#: (partition, offset)
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Receipt:
    """An event's first delivery."""

    due_ms: int
    #: From due until the node sent it, on the node's clock.
    sent_late_ms: int
    #: On the consumer's clock.
    received_ms: int

    @property
    def late_ms(self) -> int:
        """From due until the consumer had it."""
        return self.received_ms - self.due_ms

    @property
    def early(self) -> bool:
        """Whether it was sent or received before it was due (I3)."""
        return self.sent_late_ms < 0 or self.late_ms < 0


@dataclass(slots=True)
class Tally:
    """The book. Everything is filed under message ids."""

    #: What is being published.
    expected: dict[str, Event] = field(default_factory=dict)
    #: Where it is stored, once the node has said so.
    published: dict[str, Place] = field(default_factory=dict)
    first: dict[str, Receipt] = field(default_factory=dict)
    #: When the node confirmed the ack. Node and consumer share one machine's clock.
    acked: dict[str, int] = field(default_factory=dict)
    #: Further deliveries of an event, sent before its ack was durable: allowed.
    again: int = 0
    #: Deliveries sent after the ack was durable: a broken promise (I8).
    after_ack: int = 0
    #: Deliveries of other bytes than were published, or of what nobody published (I2).
    altered: int = 0
    #: Events published a second time, and how many of those were answered with the first offset.
    republished: int = 0
    recognised: int = 0
    killed_ms: int | None = None
    #: When the node served again.
    serving_ms: int | None = None
    #: When the first delivery came after that. Invariant: killed_ms ≤ serving_ms ≤ back_ms.
    back_ms: int | None = None

    @property
    def early(self) -> int:
        """Events that came before they were due."""
        return sum(receipt.early for receipt in self.first.values())

    @property
    def complete(self) -> bool:
        """Whether every event is acked."""
        return len(self.acked) == len(self.expected)

    def deliver(self, event: Delivery, received_ms: int) -> None:
        """A delivery arrived."""
        message_id = event.message_id
        if self.serving_ms is not None and self.back_ms is None:
            self.back_ms = received_ms
        expected = self.expected.get(message_id)
        if expected is None or not same(expected, event.payload, event.schedule_ts):
            self.altered += 1
        sent_ms = event.schedule_ts + event.lateness_ms
        if sent_ms > self.acked.get(message_id, sent_ms):
            self.after_ack += 1
        elif message_id in self.first:
            self.again += 1
        else:
            self.first[message_id] = Receipt(event.schedule_ts, event.lateness_ms, received_ms)

    def publish(self, result: PublishResult) -> None:
        """A publish was answered: the first time, or once more."""
        place = (result.partition, result.offset)
        if result.message_id not in self.published:
            self.published[result.message_id] = place
        else:
            self.republished += 1
            self.recognised += result.duplicate and self.published[result.message_id] == place

    def ack(self, message_ids: Iterable[str], now_ms: int) -> None:
        """The node has confirmed these acks."""
        for message_id in message_ids:
            self.acked.setdefault(message_id, now_ms)

    def outside_the_gap(self) -> list[Receipt]:
        """First deliveries that the kill cannot have delayed."""
        return [receipt for receipt in self.first.values() if not self._in_gap(receipt)]

    def _in_gap(self, receipt: Receipt) -> bool:
        if self.killed_ms is None or self.back_ms is None:
            return False
        return receipt.received_ms >= self.killed_ms and receipt.due_ms <= self.back_ms


def same(expected: Event, payload: bytes, due_ms: int) -> bool:
    """Whether this is what was published; without a time the node sets one."""
    return expected.payload == payload and expected.schedule_ts in {None, due_ms}


def percentile(values: Sequence[int], percent: float) -> int:
    """The smallest value that is not exceeded by `percent` of the values (nearest rank)."""
    assert values
    assert 0 < percent <= 100
    rank = -(-len(values) * percent // 100)
    return sorted(values)[int(rank) - 1]

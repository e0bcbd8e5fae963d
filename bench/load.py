"""The events that every piece publishes: 256 random bytes each, an id, a due time."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chronosdb.client import Event

PAYLOAD_BYTES: Final = 256
HOUR_MS: Final = 3_600_000

#: Made before the clock runs: making them is not what is measured.
_PAYLOADS: Final = [os.urandom(PAYLOAD_BYTES) for _ in range(1009)]

#: Odd, so that multiplying by it modulo 2**64 permutes the numbers: unique ids in random order.
_SCATTER: Final = 0x9E37_79B9_7F4A_7C15


@dataclass(frozen=True, slots=True)
class Load:
    """Which events to publish, and how."""

    topic: str
    count: int
    #: Due at a random time of `span_ms` from here, epoch ms. None: due at once.
    due_ms: int | None
    span_ms: int = 1
    #: Number of the first event: a second load of a topic goes on where the first ended.
    first: int = 0
    #: Events per request, and requests in flight at one time.
    batch: int = 1000
    callers: int = 8
    #: Ids in random order instead of ascending: dearer for an index.
    scattered: bool = False
    #: Of the topic, when it is made.
    partitions: int = 1
    #: Also of the topic; None: as the node likes.
    copies: int | None = None
    acks: str | None = None

    def __post_init__(self) -> None:
        assert self.count > 0, "a load of nothing"
        assert self.batch > 0, "batches of nothing"
        assert self.callers > 0, "somebody must publish"
        assert self.span_ms > 0, "a time range of nothing"

    def edge_ids(self) -> list[str]:
        """Ids of the first event, and of one in each request that may have been the last to be stored."""
        last = self.first + self.count - 1
        window = range(last, max(self.first, last - self.batch * self.callers), -self.batch)
        return self._ids([self.first, *window])

    def message_ids(self, count: int) -> list[str]:
        """Ids of the first `count` events."""
        return self._ids(range(self.first, self.first + min(count, self.count)))

    def batches(self) -> Iterator[list[Event]]:
        """The events, made as they are asked for, as an application would."""
        end = self.first + self.count
        for start in range(self.first, end, self.batch):
            numbers = range(start, min(start + self.batch, end))
            yield [
                Event(payload=payload(number), schedule_ts=due_ms, message_id=message_id)
                for number, due_ms, message_id in zip(
                    numbers, self._dues(len(numbers)), self._ids(numbers), strict=True
                )
            ]

    def _ids(self, numbers: Sequence[int]) -> list[str]:
        """Unique in the load."""
        if self.scattered:
            return [f"{number * _SCATTER % 2**64:016x}" for number in numbers]
        return [f"event-{number:010d}" for number in numbers]

    def _dues(self, count: int) -> list[int] | list[None]:
        if self.due_ms is None:
            return [None] * count
        # random.random() is several times cheaper than randrange().
        return [self.due_ms + int(random.random() * self.span_ms) for _ in range(count)]


def payload(number: int) -> bytes:
    """Random bytes."""
    return _PAYLOADS[number % len(_PAYLOADS)]


def now_ms() -> int:
    """The wall clock, epoch ms."""
    return time.time_ns() // 1_000_000


def pending(topic: str, count: int, first: int = 0) -> Load:
    """Events that will not be due before the measurement is over: in one to two hours."""
    return Load(topic, count, now_ms() + HOUR_MS, HOUR_MS, first=first)

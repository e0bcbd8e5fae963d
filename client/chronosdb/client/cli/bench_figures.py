"""What `chronos bench` has seen, as figures. Pure: told of every event, it reads no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, NamedTuple

#: The figures of a round, in the order in which they are shown.
SHARES: Final[Mapping[str, float]] = {
    "lateness_p50_ms": 0.5,
    "lateness_p99_ms": 0.99,
    "lateness_p99.9_ms": 0.999,
    "lateness_max_ms": 1.0,
}


class Spread(NamedTuple):
    """One figure over all rounds."""

    median: float
    lowest: float
    highest: float


@dataclass(slots=True)
class Round:
    """One round: `events` published at offsets from `first_offset` on of one partition, and received."""

    events: int
    first_offset: int
    #: Seconds from the first publish to the last answer.
    publish_s: float = 0.0
    #: Seconds from when the first event could be due to the last one received.
    deliver_s: float = 0.0
    #: How often an event was so many ms late.
    lateness_ms: Counter[int] = field(default_factory=Counter)
    #: Deliveries of events that had come before.
    repeated: int = 0
    _seen: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self._seen = bytearray(self.events)

    @property
    def missing(self) -> int:
        """Events that have not come yet."""
        return self.events - self.lateness_ms.total()

    @property
    def early(self) -> int:
        """Events that came before they were due."""
        return sum(count for ms, count in self.lateness_ms.items() if ms < 0)

    def received(self, offset: int, lateness_ms: int) -> None:
        """An event has come; one of another round, delivered again, is a repetition too."""
        place = offset - self.first_offset
        if not 0 <= place < self.events or self._seen[place]:
            self.repeated += 1
            return
        self._seen[place] = 1
        self.lateness_ms[lateness_ms] += 1

    def figures(self) -> dict[str, float]:
        """The round in numbers; every event has come."""
        assert not self.missing
        return {
            "published_per_s": round(self.events / self.publish_s, 1),
            "delivered_per_s": round(self.events / self.deliver_s, 1),
            **{name: _quantile(self.lateness_ms, share) for name, share in SHARES.items()},
        }


def spreads(rounds: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Median, lowest and highest of each figure."""
    columns = {name: [one[name] for one in rounds] for name in rounds[0]}
    return {name: Spread(median(c), min(c), max(c)) for name, c in columns.items()}


def _quantile(counts: Counter[int], share: float) -> int:
    """The least value that at least `share` of what was counted do not exceed."""
    wanted, reached = share * counts.total(), 0
    for value, count in sorted(counts.items()):
        reached += count
        if reached >= wanted:
            return value
    raise AssertionError("a quantile of nothing")

"""What two or more readings of a node say: rates, lateness of late, and a picture of what is ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chronosdb.client import NodeStats, TopicStats

#: Lateness is that of the deliveries of this long, as far as readings go back.
_WINDOW_MS: Final = 60_000
_BARS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class TopicTrend:
    """A topic now, and what has changed. Rates are per second; None: nothing to compare with yet."""

    now: TopicStats
    published: float | None
    fired: float | None
    delivered: float | None
    settled: float | None
    #: Upper bounds in ms, of the deliveries of the last minute; None: there were none.
    late_p50_ms: float | None
    late_p99_ms: float | None

    def due_within(self, minutes: int) -> int:
        """How many events are due in the next minutes."""
        return sum(self.now.upcoming[:minutes])


class Trend:
    """Remembers the readings of the last minute.

    A node that was restarted begins to count anew; what was read before is then forgotten.
    """

    def __init__(self) -> None:
        #: Oldest first. Invariant: of one life of one node.
        self._readings: deque[NodeStats] = deque()

    def add(self, node: NodeStats) -> list[TopicTrend]:
        """Take in a reading; what it shows of each topic."""
        readings = self._readings
        if readings and _life(readings[-1]) != _life(node):
            readings.clear()
        while len(readings) > 1 and readings[1].now_ms <= node.now_ms - _WINDOW_MS:
            readings.popleft()
        readings.append(node)
        first, last = _by_name(readings[0]), _by_name(readings[max(0, len(readings) - 2)])
        seconds = (node.now_ms - readings[max(0, len(readings) - 2)].now_ms) / 1000
        bounds = node.lateness_bounds_ms
        return [
            _topic(topic, first.get(topic.name), last.get(topic.name), seconds, bounds)
            for topic in node.topics
        ]


def quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """The bound that at least `share` of the counted values do not exceed; None: none were counted.

    `counts` are by bound, and last of what is beyond all: that one is infinite.
    """
    wanted = share * sum(counts)
    reached = 0
    for count, bound in zip(counts, [*bounds, float("inf")], strict=True):
        reached += count
        if count and reached >= wanted:
            return bound
    return None


def bars(counts: Sequence[int], width: int) -> str:
    """`counts` as that many bars, each of equally many of them, the highest of full height."""
    assert len(counts) % width == 0
    step = len(counts) // width
    sums = [sum(counts[i : i + step]) for i in range(0, len(counts), step)]
    top = max(sums)
    # Rounded up: a single event among millions is still to be seen.
    return "".join(_BARS[-(-value * (len(_BARS) - 1) // top) if top else 0] for value in sums)


def _topic(
    now: TopicStats,
    first: TopicStats | None,
    last: TopicStats | None,
    seconds: float,
    bounds: Sequence[int],
) -> TopicTrend:
    def rate(name: str) -> float | None:
        if last is None or seconds <= 0:
            return None
        grown: int = getattr(now, name) - getattr(last, name)
        return grown / seconds

    before = [0] * len(now.lateness) if first is None else first.lateness
    recent = [a - b for a, b in zip(now.lateness, before, strict=True)]
    return TopicTrend(
        now,
        rate("published"),
        rate("fired"),
        rate("delivered"),
        rate("settled"),
        quantile(recent, bounds, 0.5),
        quantile(recent, bounds, 0.99),
    )


def _life(node: NodeStats) -> tuple[str, int]:
    return node.node_id, node.started_ms


def _by_name(node: NodeStats) -> dict[str, TopicStats]:
    return {topic.name: topic for topic in node.topics}

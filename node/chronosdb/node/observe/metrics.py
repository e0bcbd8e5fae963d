"""`/metrics`: the node's readings in the text format of Prometheus; the only import of its client.

Nothing is kept here between two scrapes. Numbers are counted where things happen, as plain ints; a
scrape reads them on the event loop, some partitions at a time, and writes the text in a thread.
docs/metrics.md lists every name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import trio
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from chronosdb.node.broker import Broker
from chronosdb.node.environment import Environment
from chronosdb.node.observe.figure import Figure
from chronosdb.node.observe.loop_lag import LoopLag
from chronosdb.node.observe.readings import Reading, Traffic, combined, read_topics
from chronosdb.node.partition.histogram import Histogram
from chronosdb.node.partition.records import SettleReason
from chronosdb.wire.errors import Conflict, Overloaded

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
#: Topics with numbers of their own. Those made later are counted together.
TOPICS_MAX: Final = 1000
#: Not a name that a topic can have.
OTHER_TOPICS: Final = "(other)"
#: What is shown even before it has happened, so that the first time is seen as a change.
_CODES: Final = frozenset({Conflict.code, Overloaded.code})

_COUNTERS: Final[Sequence[tuple[str, str, Callable[[Reading], int]]]] = (
    ("events_published", "Events stored.", lambda r: r.counters.published),
    (
        "events_duplicate",
        "Events that were published again and answered with the original.",
        lambda r: r.counters.duplicates,
    ),
    (
        "events_fired",
        "Events that became due and were given a position.",
        lambda r: r.counters.fired,
    ),
    ("events_cancelled", "Pending events cancelled.", lambda r: r.counters.cancelled),
    (
        "events_rescheduled",
        "Times that a pending event was given another time.",
        lambda r: r.counters.rescheduled,
    ),
    (
        "deliveries",
        "Events sent to members of groups, every attempt counted.",
        lambda r: r.counters.delivered,
    ),
    (
        "deliveries_retried",
        "Deliveries that failed (nack, ack timeout) and are tried again.",
        lambda r: r.counters.retried,
    ),
    (
        "events_carried",
        "Events stored again because the oldest part of a log was deleted.",
        lambda r: r.counters.carried,
    ),
    (
        "log_dropped_bytes",
        "Bytes of log segments deleted.",
        lambda r: r.counters.dropped_bytes,
    ),
)
_GAUGES: Final[Sequence[tuple[str, str, Callable[[Reading], float]]]] = (
    ("partitions", "Partitions that this node serves.", lambda r: r.partitions),
    ("events_pending", "Events stored, neither fired nor cancelled.", lambda r: r.pending),
    (
        "firing_overdue_seconds",
        "For how long the first timer that is due has been waiting to fire.",
        lambda r: r.overdue_ms / 1000,
    ),
    (
        "group_lag_events",
        "Events fired and not settled, of the group that is furthest behind.",
        lambda r: r.max_lag,
    ),
    ("deliveries_leased", "Deliveries that members hold now.", lambda r: r.leased),
    (
        "deliveries_waiting",
        "Failed deliveries that wait for their next attempt.",
        lambda r: r.waiting,
    ),
    (
        "wheel_timers",
        "Entries of the timing wheel, those of cancelled and moved events included.",
        lambda r: r.wheel_timers,
    ),
    ("wheel_bytes", "Memory of the timing wheel.", lambda r: r.wheel_bytes),
)


class Metrics:
    """Answers scrapes, one at a time."""

    def __init__(
        self,
        env: Environment,
        broker: Broker,
        *,
        version: str,
        traffic: Callable[[], Traffic],
        loop_lag: LoopLag,
        figures: Callable[[], Awaitable[Sequence[Figure]]],
    ) -> None:
        self._env = env
        self._broker = broker
        self._version = version
        self._traffic = traffic
        self._loop_lag = loop_lag
        self._figures = figures
        self._turn = trio.Lock()
        # A registry of our own: nothing else in this process can add to it.
        self._process = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._process)

    async def scrape(self) -> bytes:
        """The page as it is now."""
        async with self._turn:
            topics = await read_topics(self._broker, self._env.clock.now_ms())
            node = [
                _info("build", "The version that runs.", {"version": self._version}),
                *_traffic(self._traffic()),
                _seconds(
                    "event_loop_lag",
                    "How much too late the event loop woke a task that slept for 100 ms.",
                    self._loop_lag.seconds,
                ),
                *map(_family, await self._figures()),
            ]
            return await self._env.threads.run(page, topics, chain(node, self._process.collect()))


class _Families(Collector):
    """Metrics that are known already, as the library wants them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def page(topics: Sequence[Reading], others: Iterable[Metric]) -> bytes:
    """The text, of topics and of what is not by topic. With many topics this takes a while."""
    shown = [*topics[:TOPICS_MAX]]
    if len(topics) > TOPICS_MAX:
        shown.append(combined(topics[TOPICS_MAX:], OTHER_TOPICS))
    everything = combined(topics, "")
    families = chain(_of_topics(shown), _of_disk(everything), others)
    return generate_latest(_Families(families))


def figures_page(figures: Iterable[Figure]) -> bytes:
    """The text of figures alone."""
    return generate_latest(_Families(map(_family, figures)))


def _of_topics(readings: Sequence[Reading]) -> Iterator[Metric]:
    for name, text, count in _COUNTERS:
        counter = CounterMetricFamily(f"chronosdb_{name}", text, labels=["topic"])
        for reading in readings:
            counter.add_metric([reading.topic], count(reading))
        yield counter
    for name, text, value in _GAUGES:
        gauge = GaugeMetricFamily(f"chronosdb_{name}", text, labels=["topic"])
        for reading in readings:
            gauge.add_metric([reading.topic], value(reading))
        yield gauge
    yield _refused(readings)
    yield _settled(readings)
    yield _lateness(readings)


def _refused(readings: Sequence[Reading]) -> Metric:
    family = CounterMetricFamily(
        "chronosdb_publishes_refused",
        "Batches that were refused, by error code.",
        labels=["topic", "code"],
    )
    for reading in readings:
        refused = reading.counters.refused
        for code in sorted(refused.keys() | _CODES):
            family.add_metric([reading.topic, code], refused[code])
    return family


def _settled(readings: Sequence[Reading]) -> Metric:
    family = CounterMetricFamily(
        "chronosdb_deliveries_settled",
        "Deliveries that are over, each once per group, by reason.",
        labels=["topic", "reason"],
    )
    for reading in readings:
        for reason in SettleReason:
            count = reading.counters.settled[reason]
            family.add_metric([reading.topic, reason.name.lower()], count)
    return family


def _lateness(readings: Sequence[Reading]) -> Metric:
    family = HistogramMetricFamily(
        "chronosdb_delivery_lateness_seconds",
        "How long after its due time an event was first sent to a group.",
        labels=["topic"],
    )
    for reading in readings:
        late = reading.counters.lateness_ms
        family.add_metric([reading.topic], *_buckets(late, unit=1000))
    return family


def _of_disk(everything: Reading) -> Iterator[Metric]:
    counters = everything.counters
    group_bytes = HistogramMetricFamily(
        "chronosdb_wal_group_bytes",
        "Bytes appended to a log with one write; the sum is everything that was appended.",
    )
    group_bytes.add_metric([], *_buckets(counters.group_bytes))
    yield group_bytes
    yield _seconds("wal_fsync", "Time that one fsync of a log took.", counters.sync_s)
    yield _seconds(
        "checkpoint", "Time that saving a partition's views took.", counters.checkpoint_s
    )


def _traffic(traffic: Traffic) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "chronosdb_connections", "Clients connected.", value=traffic.connections
    )
    yield GaugeMetricFamily(
        "chronosdb_publish_inflight_bytes",
        "Bytes of publishes that were received and not answered yet.",
        value=traffic.inflight_bytes,
    )


def _family(one: Figure) -> Metric:
    name = f"chronosdb_{one.name}"
    family: CounterMetricFamily | GaugeMetricFamily
    family = (CounterMetricFamily if one.counts else GaugeMetricFamily)(
        name, one.text, labels=one.labels
    )
    for labels, value in one.samples:
        family.add_metric(labels, value)
    return family


def _info(name: str, text: str, labels: dict[str, str]) -> Metric:
    return InfoMetricFamily(f"chronosdb_{name}", text, value=labels)


def _seconds(name: str, text: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(f"chronosdb_{name}_seconds", text)
    family.add_metric([], *_buckets(histogram))
    return family


def _buckets(histogram: Histogram, unit: int = 1) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound, as the format wants them, and the sum."""
    rows: list[tuple[str, float]] = []
    count = 0
    bounds = [*(str(bound / unit) for bound in histogram.bounds), "+Inf"]
    for bound, more in zip(bounds, histogram.counts, strict=True):
        count += more
        rows.append((bound, count))
    return rows, histogram.total / unit

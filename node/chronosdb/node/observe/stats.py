"""The node's readings for `chronos top` and `chronos cluster status`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from typing import Final

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.environment import Environment
from chronosdb.node.identity import Identity
from chronosdb.node.observe.readings import Reading, Traffic, read_topics
from chronosdb.node.partition.counters import LATENESS_MS
from chronosdb.node.partition.partition import Partition
from chronosdb.wire.messages import NodeStats, TopicStats

#: How far ahead the minutes reach.
_MINUTES: Final = 60
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What does not change while a node runs."""

    identity: Identity
    data_dir: str
    started_ms: int


class Stats:
    """Answers how the node does."""

    def __init__(
        self, env: Environment, broker: Broker, facts: NodeFacts, traffic: Callable[[], Traffic]
    ) -> None:
        self._env = env
        self._broker = broker
        self._facts = facts
        self._traffic = traffic

    async def read(self) -> NodeStats:
        """A reading of everything, partition by partition."""
        facts, now_ms = self._facts, self._env.clock.now_ms()
        readings = await read_topics(self._broker, now_ms)
        ahead = await _upcoming(self._broker.open_partitions(), now_ms)
        free_bytes = await self._env.threads.run(self._env.disk.free_bytes, facts.data_dir)
        topics = [_topic(reading, ahead.get(reading.topic, [])) for reading in readings]
        traffic = self._traffic()
        return NodeStats(
            node_id=facts.identity.node_id,
            cluster_id=facts.identity.cluster_id,
            version=version("chronosdb"),
            started_ms=facts.started_ms,
            now_ms=now_ms,
            connections=traffic.connections,
            inflight_bytes=traffic.inflight_bytes,
            log_bytes=sum(topic.log_bytes for topic in topics),
            free_bytes=free_bytes,
            lateness_bounds_ms=list(LATENESS_MS),
            topics=sorted(topics, key=lambda topic: topic.name),
        )


async def _upcoming(partitions: Sequence[Partition], now_ms: int) -> dict[str, list[int]]:
    """How many timers of each topic are due in each of the next minutes."""
    edges = [now_ms + n * _MINUTE_MS for n in range(_MINUTES + 1)]
    counts: dict[str, list[int]] = {}
    for topic, members in groupby(partitions, key=lambda partition: partition.id.topic):
        rows = []
        for partition in members:
            rows.append(partition.state.timers.count_due(edges))
            await trio.lowlevel.checkpoint()
        # A partition with very many timers knows fewer minutes.
        counts[topic] = [sum(column) for column in zip(*rows, strict=False)]
    return counts


def _topic(reading: Reading, upcoming: list[int]) -> TopicStats:
    counters = reading.counters
    return TopicStats(
        name=reading.topic,
        partitions=reading.partitions,
        published=counters.published,
        fired=counters.fired,
        delivered=counters.delivered,
        settled=counters.settled.total(),
        pending=reading.pending,
        overdue_ms=reading.overdue_ms,
        lag=reading.max_lag,
        leased=reading.leased,
        log_bytes=reading.log_bytes,
        lateness=counters.lateness_ms.counts,
        upcoming=upcoming,
    )

"""What a node can say about itself at one moment: counters and gauges, summed by topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.partition.counters import Counters
from chronosdb.node.partition.partition import Partition

#: Partitions looked at between two breaths.
_STEP: Final = 16


@dataclass(slots=True)
class Reading:
    """The partitions of one topic, or of several, together."""

    topic: str
    partitions: int = 0
    counters: Counters = field(default_factory=Counters)
    #: Stored, neither fired nor cancelled.
    pending: int = 0
    #: For how long the first timer that is due has been waiting to be fired.
    overdue_ms: int = 0
    #: Of each group: fired and not settled.
    lag: dict[str, int] = field(default_factory=dict)
    #: Deliveries that members hold.
    leased: int = 0
    #: Failed deliveries that wait for their next attempt.
    waiting: int = 0
    #: Entries of the timing wheel; a cancelled timer stays in it until it comes up.
    wheel_timers: int = 0
    wheel_bytes: int = 0
    #: What the logs hold.
    log_bytes: int = 0

    @property
    def max_lag(self) -> int:
        """That of the group that is furthest behind."""
        return max(self.lag.values(), default=0)

    def add(self, partition: Partition, now_ms: int) -> None:
        """Take in a partition as it is now."""
        timers = partition.state.timers
        self.partitions += 1
        self.counters.merge(partition.counters)
        self.pending += len(timers.pending)
        wakeup_ms = timers.next_wakeup_ms()
        if wakeup_ms is not None:
            self.overdue_ms = max(self.overdue_ms, now_ms - wakeup_ms)
        for group in partition.state.groups:
            progress = partition.dispatcher.progress(group)
            assert progress is not None
            self.lag[group] = self.lag.get(group, 0) + progress.lag
            self.leased += progress.leased
            self.waiting += progress.retrying
        self.wheel_timers += len(timers.wheel)
        self.wheel_bytes += timers.wheel.nbytes
        self.log_bytes += partition.log_bytes


@dataclass(frozen=True, slots=True)
class Traffic:
    """What clients keep busy."""

    connections: int
    #: Publishes that were received and not answered.
    inflight_bytes: int


async def read_topics(broker: Broker, now_ms: int) -> list[Reading]:
    """A reading of each topic, in the order in which the topics were made.

    Each partition is read at one moment, several not: others get their turn in between.
    """
    readings: dict[int, Reading] = {}
    for count, partition in enumerate(broker.open_partitions(), 1):
        identity = partition.id
        reading = readings.setdefault(identity.topic_id, Reading(identity.topic))
        reading.add(partition, now_ms)
        if count % _STEP == 0:
            await trio.lowlevel.checkpoint()
    return list(readings.values())


def combined(readings: Sequence[Reading], topic: str) -> Reading:
    """Several topics, read as one."""
    total = Reading(topic)
    for one in readings:
        total.partitions += one.partitions
        total.counters.merge(one.counters)
        total.pending += one.pending
        total.overdue_ms = max(total.overdue_ms, one.overdue_ms)
        # Groups of two topics are two groups, even if they share a name.
        total.lag.update({f"{one.topic}/{group}": lag for group, lag in one.lag.items()})
        total.leased += one.leased
        total.waiting += one.waiting
        total.wheel_timers += one.wheel_timers
        total.wheel_bytes += one.wheel_bytes
        total.log_bytes += one.log_bytes
    return total

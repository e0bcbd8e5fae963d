"""What is peculiar to one seed: settings, load, and which faults there are at all.

Each seed leaves most kinds of faults out, and makes some things extreme. A mix of everything would hide
what only shows where, say, segments are tiny and nothing ever crashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final

from chronosdb.node.recurring.schedule import LEAD_MS
from chronosdb.testing.chance import Random

#: Kinds of faults, and how often each strikes in a run that has it: seconds between two, on average.
FAULTS: Final[Mapping[str, float]] = {
    "power cut": 15,
    "crash in a call": 12,
    "kill": 12,
    "restart": 20,
    "views lost": 25,
    "disk error": 20,
    "disk full": 20,
    "disk slow": 12,
    "connection broken": 4,
    "link blocked": 12,
    "link slow": 12,
    "machine stalled": 15,
    "process stopped": 15,
    "clock stepped": 12,
    "clock drifts": 15,
    "client gone": 10,
}
#: More kinds, where there are several nodes.
CLUSTER_FAULTS: Final[Mapping[str, float]] = {
    "power cut of all": 40,
    "kill of all": 40,
    "nodes partitioned": 10,
    "link between nodes slow": 12,
}
#: A run with less trouble than this is brief, for many of them; with less than that, a glimpse: see `_brief`.
BRIEF_S: Final = 30.0
GLIMPSE_S: Final = 20.0
#: Faults that may cost acked events where the fsync comes after the ack: not for those nodes.
LOSING: Final = frozenset({"power cut", "crash in a call", "disk error"})


@dataclass(frozen=True, slots=True)
class Swarm:
    """The peculiarities of one run."""

    nodes: int
    #: On so many disks everything is that anybody was told.
    copies: int
    #: Of the node, by the names of `Config`.
    settings: Mapping[str, Any]
    #: Of the topic, as it is created.
    topic: Mapping[str, Any]
    partitions: int
    #: Name and mode of each group, and its members at one time.
    groups: tuple[tuple[str, str, int], ...]
    publishers: int
    #: Recurring schedules, and how far ahead their events are published.
    planners: int
    lead_ms: int
    #: Seconds between two things that an operator of the cluster does; 0: there is none.
    operated_s: float
    #: Seconds between two requests of one publisher, on average.
    pause_s: float
    batch_max: int
    payload_max: int
    credits: int
    #: How far ahead events are due at most, ms.
    horizon_ms: int
    #: Shares of deliveries that are given back; that are neither acked nor given back.
    nacked: float
    dropped: float
    #: The share of events that expire.
    expiring: float
    #: The share of publishes that wait for the disk of the leader only.
    hasty: float
    #: Kinds of faults, and the seconds between two of each.
    faults: Mapping[str, float]
    #: No fault lasts longer, in seconds, and no clock is set further, in either direction.
    fault_max_s: float
    step_max_ms: float
    #: Each disk call in a worker thread takes up to so many seconds.
    disk_s: float
    short_reads: float
    #: Each one-way latency, and what is added to it by chance, seconds.
    latency_s: float
    #: Whether what takes long is looked at in the end: punctuality, and views that are rebuilt.
    thorough: bool


def swarm(seed: int, nodes: int, trouble_s: float) -> Swarm:
    """The run of this seed, with so many nodes."""
    long = _long(seed, nodes)
    return long if trouble_s >= BRIEF_S else _brief(seed, long, min(1.0, trouble_s / GLIMPSE_S))


def _brief(seed: int, long: Swarm, share: float) -> Swarm:
    """As much happens in a third of the time, and what must be waited for in the end is soon over.

    A glimpse has a `share` of that time: all is quicker by its root, and the share of them that is thorough
    is the same, for what that costs is paid by each run alike, however brief.
    """
    pace = share**0.5
    longest_ms = {
        # Clients ping every three seconds.
        "idle_timeout_ms": 4_000,
        "ack_timeout_ms": pace * 2_000,
        "backoff_ms": pace * 1_000,
        "backoff_max_ms": pace * 1_000,
        "shutdown_timeout_ms": pace * 2_000,
        "lease_ms": pace * 2_000,
    }
    of_long = long.settings
    shorter = {
        name: min(round(ms), of_long[name]) for name, ms in longest_ms.items() if name in of_long
    }
    if share < 1 and long.nodes > 1:
        # As seldom as the lease allows: of what happens in a quiet second most are heartbeats.
        shorter["heartbeat_interval_ms"] = shorter["lease_ms"] // 4
    thorough = Random(f"{seed} thorough").random() < share
    return replace(
        long,
        settings={**of_long, **shorter, "handshake_timeout_ms": round(pace * 3_000)},
        planners=long.planners if thorough else 0,
        lead_ms=long.lead_ms if thorough else 0,
        operated_s=pace * long.operated_s / 3,
        pause_s=long.pause_s / 2,
        horizon_ms=min(long.horizon_ms, round(pace * 5_000)),
        faults={kind: pace * every / 3 for kind, every in long.faults.items()},
        fault_max_s=pace * 3,
        step_max_ms=5_000,
        thorough=thorough,
    )


def _long(seed: int, nodes: int) -> Swarm:
    r = Random(f"{seed} swarm")
    pause_s, batch_max = r.choice(((0.4, 1), (0.8, 5), (5, 40)))
    publishers = r.choice((1, 1, 2, 3))
    settings = _settings(r)
    payload_max = r.choice((0, 20, 300, 2000))
    if batch_max * payload_max > settings["segment_bytes"] / 4:
        payload_max = 20  # a batch must fit
    # What came later draws from a generator of its own: a seed stays what it was but for this.
    more = Random(f"{seed} more")
    # A handful of timers at hand, some seconds' worth, or all of them.
    settings["memory_budget_bytes"] = Random(f"{seed} wheel").choice((64, 512, 4096, 64 << 20))
    if more.random() < 0.15 and nodes == 1:
        settings |= {"fsync": "periodic", "fsync_interval_ms": more.choice((5, 200, 2_000))}
    topic, operated_s, hasty = _topic(more), 0.0, 0.0
    if nodes > 1:
        together = Random(f"{seed} cluster")
        settings |= _cluster_settings(together)
        topic |= _replication(together, nodes)
        operated_s = together.choice((0.0, 0.0, 2.0, 6.0))
        hasty = Random(f"{seed} haste").choice((0.0, 0.0, 0.3))
    return Swarm(
        nodes=nodes,
        copies=topic.get("min_insync", 1) // 2 + 1,
        settings=settings,
        topic=topic,
        partitions=r.choice((1, 1, 2, 4)),
        groups=_groups(r),
        publishers=publishers,
        planners=more.choice((0, 0, 1, 2)),
        lead_ms=LEAD_MS,
        operated_s=operated_s,
        # Together they publish as much as one would: the load is for depth, not for speed.
        pause_s=pause_s * publishers,
        batch_max=batch_max,
        payload_max=payload_max,
        credits=r.choice((1, 3, 16, 256)),
        horizon_ms=r.choice((100, 5_000, 40_000)),
        nacked=r.choice((0, 0, 0.05, 0.3)),
        dropped=r.choice((0, 0, 0.05, 0.2)),
        expiring=more.choice((0, 0, 0.1, 0.5)),
        hasty=hasty,
        faults=_faults(r, nodes, may_lose=settings["fsync"] == "periodic"),
        fault_max_s=inf,
        step_max_ms=inf,
        disk_s=r.choice((0, 0.0002, 0.005, 0.08)),
        short_reads=r.choice((0, 0, 0.1, 0.7)),
        latency_s=r.choice((0.0001, 0.002, 0.05)),
        thorough=True,
    )


def _settings(r: Random) -> dict[str, Any]:
    backoff_ms = r.choice((0, 50, 1000))
    return {
        "fsync": r.choice(("batch", "batch", "batch", "every_event")),
        "segment_bytes": r.choice((32 * 1024, 128 * 1024, 1024 * 1024)),
        "disk_reserve_bytes": r.choice((64 * 1024, 1024 * 1024)),
        "dedup_window_ms": r.choice((5_000, 30_000, 7 * 86_400_000)),
        "ack_timeout_ms": r.choice((300, 2_000, 8_000)),
        "max_attempts": r.choice((2, 5, 1000)),
        "backoff_ms": backoff_ms,
        "backoff_max_ms": max(backoff_ms, r.choice((100, 3_000))),
        "checkpoint_bytes": r.choice((4 * 1024, 64 * 1024, 64 * 1024 * 1024)),
        "checkpoint_interval_ms": r.choice((200, 3_000, 30_000)),
        "record_cache_bytes": r.choice((0, 16 * 1024, 64 * 1024 * 1024)),
        "idle_timeout_ms": r.choice((12_000, 20_000)),
        "shutdown_timeout_ms": r.choice((500, 8_000)),
    }


def _topic(r: Random) -> dict[str, Any]:
    """Most keep everything. The others let go of what is over as soon as the dedup window allows."""
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {},
        {"retention_ms": 5_000, "dedup_window_ms": 5_000},
        {"retention_bytes": 50_000, "dedup_window_ms": 5_000},
    )
    return r.choice(kinds)


def _groups(r: Random) -> tuple[tuple[str, str, int], ...]:
    kinds = (("ordered", 1), ("ordered", 2), ("shared", 1), ("shared", 3))
    return tuple(
        (f"g{number}", mode, members)
        for number, (mode, members) in enumerate(r.sample(kinds, r.choice((1, 2))))
    )


def _cluster_settings(r: Random) -> dict[str, Any]:
    return {
        "lease_ms": r.choice((500, 1_000, 1_000, 2_000)),
        "heartbeat_interval_ms": r.choice((100, 250)),
        "replica_lag_max_ms": r.choice((500, 5_000)),
    }


def _replication(r: Random, nodes: int) -> dict[str, Any]:
    """Acks of the leader alone may be lost with it: some publishes ask for that, see `hasty`."""
    return {
        "replication": min(3, nodes),
        "min_insync": r.choice((1, 2, 2, 2)),
        "acks": r.choice(("quorum", "quorum", "quorum", "all")),
    }


def _faults(r: Random, nodes: int, *, may_lose: bool) -> dict[str, float]:
    share = r.choice((0, 0.2, 0.4, 0.7))
    kinds = {**FAULTS, **CLUSTER_FAULTS} if nodes > 1 else FAULTS
    faults = {
        kind: every * r.choice((0.5, 1, 2)) for kind, every in kinds.items() if r.random() < share
    }
    return {kind: every for kind, every in faults.items() if not (may_lose and kind in LOSING)}

"""The settings a topic or a group may carry, with their bounds.

An absent setting means the node's default, so that a default can change without touching topics.
The tables are replicated rules: two versions that disagree on them would apply one command
differently. A new key therefore needs a new command schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from chronosdb.raft.limits import INTEGER_MAX, REPLICAS_MAX
from chronosdb.raft.names import quoted

Settings: TypeAlias = Mapping[str, int]


class Bounds(NamedTuple):
    """Both ends included."""

    low: int
    high: int = INTEGER_MAX


#: How a group's deliveries are retried; a group's own value goes before its topic's.
GROUP_SETTINGS: Mapping[str, Bounds] = MappingProxyType(
    {
        "ack_timeout_ms": Bounds(1),
        "max_attempts": Bounds(1),
        "backoff_ms": Bounds(0),
        "backoff_max_ms": Bounds(0),
    }
)

TOPIC_SETTINGS: Mapping[str, Bounds] = MappingProxyType(
    {
        **GROUP_SETTINGS,
        "replication": Bounds(1, REPLICAS_MAX),
        # A leader never lets the in-sync set become smaller. Absent means 1 with up to two copies,
        # else more than half of them.
        "min_insync": Bounds(1, REPLICAS_MAX),
        # When a publish is acknowledged: 0 by the leader, 1 by a quorum, 2 by all in sync.
        "acks": Bounds(0, 2),
        "dedup_window_ms": Bounds(0),
        "max_delay_ms": Bounds(0),
        "max_pending": Bounds(0),
        "retention_ms": Bounds(0),
        "retention_bytes": Bounds(0),
    }
)

#: What holds for the whole cluster; absent means the default of whoever reads it.
CLUSTER_SETTINGS: Mapping[str, Bounds] = MappingProxyType(
    {
        # Copies of a topic that does not say how many.
        "replication": Bounds(1, REPLICAS_MAX),
        # A node that was not heard of for so long is fenced; its own lease must end before.
        "fence_timeout_ms": Bounds(1_000, 3_600_000),
        "lease_ms": Bounds(500, 3_600_000),
        # What all nodes understand: new commands wait for it.
        "feature_level": Bounds(0),
    }
)


def settings_problem(settings: Settings, known: Mapping[str, Bounds]) -> str | None:
    """Why `settings` cannot be accepted, naming the key and what is allowed, or None."""
    for key, value in sorted(settings.items()):
        bounds = known.get(key)
        if bounds is None:
            return f"unknown setting {quoted(key)}; known are {', '.join(sorted(known))}"
        if not bounds.low <= value <= bounds.high:
            return f"setting {key}={value} must be between {bounds.low} and {bounds.high}"
    return None


def frozen(settings: Settings) -> Settings:
    """A read-only copy in key order, so that equal settings also encode equally."""
    return MappingProxyType(dict(sorted(settings.items())))

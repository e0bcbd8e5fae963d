"""How a node and its topics do."""

from __future__ import annotations

from msgspec import Struct

from chronosdb.wire.messages.base import Answer, Message, RequestId


class TopicStats(Struct, frozen=True, array_like=True):
    """A topic's partitions on this node, together.

    `published` to `settled` count since the node started: two readings give a rate. `overdue_ms`: for
    how long the first due timer has waited to fire. `lag`: events fired and not settled, of the
    group that is furthest behind. `lateness`: how many first deliveries were within each of the node's
    `lateness_bounds_ms`, and last, beyond all. `upcoming`: how many events are due in each of the next
    minutes; one that was cancelled or moved is still counted where it was.
    """

    name: str
    partitions: int
    published: int
    fired: int
    delivered: int
    settled: int
    pending: int
    overdue_ms: int
    lag: int
    leased: int
    log_bytes: int
    lateness: list[int]
    upcoming: list[int]


class NodeStats(Struct, frozen=True, array_like=True):
    """A node. `log_bytes`: of all partitions; `free_bytes`: what it may still write."""

    node_id: str
    cluster_id: str
    version: str
    started_ms: int
    now_ms: int
    connections: int
    inflight_bytes: int
    log_bytes: int
    free_bytes: int
    lateness_bounds_ms: list[int]
    topics: list[TopicStats]


class Stats(Message, frozen=True, array_like=True, tag=70):
    """Ask how the node does."""

    request: RequestId


class StatsReply(Answer, frozen=True, array_like=True, tag=71):
    """How it does."""

    node: NodeStats

"""One partition's replicas, leader and in-sync set: how they may change (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from chronosdb.raft.commands import PartitionChange
from chronosdb.raft.limits import REPLICAS_MAX
from chronosdb.raft.names import quoted
from chronosdb.raft.view import NOBODY, TopicInfo

T = TypeVar("T")


def change_problem(
    topic: TopicInfo, change: PartitionChange, may_hold: Callable[[str], bool]
) -> str | None:
    """Why a partition cannot become what `change` says, its version aside; None if it can."""
    replicas, isr, leader = change.replicas, change.isr, change.leader
    if not 1 <= len(replicas) <= REPLICAS_MAX or len(set(replicas)) != len(replicas):
        return f"a partition has 1 to {REPLICAS_MAX} replicas on different nodes"
    strangers = [node for node in replicas if not may_hold(node)]
    if strangers:
        return f"node {quoted(strangers[0])} is not known, or was removed"
    if not isr or len(set(isr)) != len(isr) or not set(isr) <= set(replicas):
        return "the in-sync nodes must be some of the replicas, at least one"
    if leader != NOBODY and leader not in isr:
        return f"leader {quoted(leader)} is not in sync"
    before = topic.isrs[change.partition]
    return None if change.unclean or not before else _loss(before, change)


def _loss(in_sync_before: tuple[str, ...], change: PartitionChange) -> str | None:
    """What is committed is with those who were in sync: one of them must remain, and lead."""
    heirs = set(in_sync_before) & set(change.isr)
    if heirs and change.leader in {NOBODY, *heirs}:
        return None
    return (
        f"in sync were {', '.join(in_sync_before)}: without one of them to lead, what was"
        " acknowledged may be lost; allow it as unclean if they are gone for good"
    )


def changed(topic: TopicInfo, change: PartitionChange, index: int) -> TopicInfo:
    """The topic after a sound change by the command at log position `index`."""
    p = change.partition
    new_leader = change.leader != topic.leaders[p]
    return replace(
        topic,
        leaders=_with(topic.leaders, {p: change.leader}),
        epochs=_with(topic.epochs, {p: topic.epochs[p] + new_leader}),
        replicas=_with(topic.replicas, {p: change.replicas}),
        isrs=_with(topic.isrs, {p: change.isr}),
        versions=_with(topic.versions, {p: index}),
    )


def led_anew(topic: TopicInfo, node: str, index: int) -> TopicInfo:
    """The topic after `node` started: new epochs for what it leads, or may take."""
    taken = [p for p in range(topic.partitions) if _is_for(topic, p, node)]
    if not taken:
        return topic
    return replace(
        topic,
        leaders=_with(topic.leaders, dict.fromkeys(taken, node)),
        epochs=_with(topic.epochs, {p: topic.epochs[p] + 1 for p in taken}),
        replicas=_with(topic.replicas, {p: topic.replicas[p] or (node,) for p in taken}),
        isrs=_with(topic.isrs, {p: topic.isrs[p] or (node,) for p in taken}),
        versions=_with(topic.versions, dict.fromkeys(taken, index)),
    )


def _is_for(topic: TopicInfo, partition: int, node: str) -> bool:
    if topic.leaders[partition] != NOBODY:
        return topic.leaders[partition] == node
    return node in topic.isrs[partition] or not topic.replicas[partition]


def _with(column: tuple[T, ...], changes: Mapping[int, T]) -> tuple[T, ...]:
    return tuple(changes.get(p, value) for p, value in enumerate(column))

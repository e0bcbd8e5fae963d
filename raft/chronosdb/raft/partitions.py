"""A partition's replicas, leader and in-sync set: how they may change (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from chronosdb.raft.commands import Move, PartitionChange
from chronosdb.raft.limits import COPIES_MAX, REPLICAS_MAX
from chronosdb.raft.names import quoted
from chronosdb.raft.view import NOBODY, TopicInfo

T = TypeVar("T")


def change_problem(
    topic: TopicInfo, change: PartitionChange, may_hold: Callable[[str], bool]
) -> str | None:
    """Why a partition cannot become what `change` says, its version aside; None if it can."""
    replicas, isr, leader = change.replicas, change.isr, change.leader
    if not 1 <= len(replicas) <= COPIES_MAX or len(set(replicas)) != len(replicas):
        return f"a partition has 1 to {COPIES_MAX} replicas on different nodes"
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


def target_problem(target: Sequence[str], may_hold: Callable[[str], bool]) -> str | None:
    """Why a partition cannot go there, or None if it can. To nobody: it stays."""
    if len(target) > REPLICAS_MAX or len(set(target)) != len(target):
        return f"a partition has 1 to {REPLICAS_MAX} replicas on different nodes"
    strangers = [node for node in target if not may_hold(node)]
    return f"node {quoted(strangers[0])} is not known, or was removed" if strangers else None


def changed(topic: TopicInfo, changes: Sequence[PartitionChange], index: int) -> TopicInfo:
    """The topic after sound changes of partitions by the command at log position `index`.

    All at once: for each of them alone, every column would be copied.
    """
    by = {change.partition: change for change in changes}
    risen = {
        p: topic.epochs[p] + 1
        for p, one in by.items()
        if one.anew or one.leader != topic.leaders[p]
    }
    arrived = {p: () for p, one in by.items() if topic.target(p) == one.replicas}
    return replace(
        topic,
        leaders=_with(topic.leaders, {p: one.leader for p, one in by.items()}),
        epochs=_with(topic.epochs, risen),
        replicas=_with(topic.replicas, {p: one.replicas for p, one in by.items()}),
        isrs=_with(topic.isrs, {p: one.isr for p, one in by.items()}),
        versions=_with(topic.versions, dict.fromkeys(by, index)),
        targets=_targets(topic, arrived),
    )


def bound_for(topic: TopicInfo, moves: Sequence[Move]) -> TopicInfo:
    """The topic after sound moves were planned. Who is there already has arrived."""
    targets = {
        one.partition: one.target if one.target != topic.replicas[one.partition] else ()
        for one in moves
    }
    return replace(topic, targets=_targets(topic, targets))


def spared(topic: TopicInfo, node: str) -> TopicInfo:
    """The topic after a node was removed that holds nothing: nothing goes there any more."""
    lost = {p: () for p, target in enumerate(topic.targets) if node in target}
    return replace(topic, targets=_targets(topic, lost)) if lost else topic


def led_anew(topic: TopicInfo, node: str, index: int) -> TopicInfo:
    """The topic after `node` started alone: new epochs for what it leads, or may take."""
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


def vacated(topic: TopicInfo, node: str, index: int) -> TopicInfo:
    """The topic after `node` began a new life in a cluster: what it led, nobody leads."""
    left = [p for p, leader in enumerate(topic.leaders) if leader == node]
    if not left:
        return topic
    return replace(
        topic,
        leaders=_with(topic.leaders, dict.fromkeys(left, NOBODY)),
        epochs=_with(topic.epochs, {p: topic.epochs[p] + 1 for p in left}),
        versions=_with(topic.versions, dict.fromkeys(left, index)),
    )


def _targets(
    topic: TopicInfo, changes: Mapping[int, tuple[str, ...]]
) -> tuple[tuple[str, ...], ...]:
    """No column at all while nothing moves: so it is nearly always."""
    if not changes:
        return topic.targets
    targets = _with(topic.targets or ((),) * topic.partitions, changes)
    return targets if any(targets) else ()


def _with(column: tuple[T, ...], changes: Mapping[int, T]) -> tuple[T, ...]:
    after = list(column)
    for p, value in changes.items():
        after[p] = value
    return tuple(after)

"""Topics and their partitions as replicated state: created, placed, led, moved, deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeAlias

from chronosdb.raft import limits
from chronosdb.raft.commands import (
    AlterPartitions,
    CreateTopic,
    Move,
    PartitionChange,
    PlanMoves,
    SetReplication,
)
from chronosdb.raft.names import name_problem, quoted
from chronosdb.raft.partitions import (
    bound_for,
    change_problem,
    changed,
    led_anew,
    spared,
    target_problem,
    vacated,
)
from chronosdb.raft.placement import evenly, place
from chronosdb.raft.result import Result, Status
from chronosdb.raft.settings import TOPIC_SETTINGS, Settings, frozen, settings_problem
from chronosdb.raft.view import NOBODY, TopicInfo

#: Racks of the nodes that may be given partitions, by node.
Racks: TypeAlias = Mapping[str, str]


class Topics:
    """All topics by name."""

    def __init__(self) -> None:
        self._topics: dict[str, TopicInfo] = {}
        #: Invariant: above the id of every topic that ever was.
        self.next_id = 1
        #: Invariant: the sum of all topics' partitions.
        self._partition_count = 0
        #: Derived from `_topics`; None when it has to be built again.
        self._view: Mapping[str, TopicInfo] | None = None

    @property
    def view(self) -> Mapping[str, TopicInfo]:
        """An immutable copy, and the same one until something changes."""
        if self._view is None:
            self._view = MappingProxyType(dict(self._topics))
        return self._view

    def get(self, name: str) -> TopicInfo | None:
        """One topic, or None."""
        return self._topics.get(name)

    def create(self, c: CreateTopic, index: int, now_ms: int, racks: Racks, copies: int) -> Result:
        """`copies` is for a topic that does not say how many it wants.

        It gets as many as there are nodes, and the others from the controller when there are more.
        """
        copies = c.settings.get("replication", copies)
        problem = (
            name_problem("topic", c.name)
            or _partitions_problem(c.partitions)
            or settings_problem(c.settings, TOPIC_SETTINGS)
            or _insync_problem(c.settings, copies)
        )
        if problem:
            return Result(Status.INVALID, problem)
        topic = self._topics.get(c.name)
        if topic is not None:
            return _existing(topic, c)
        if len(self._topics) >= limits.TOPICS_MAX:
            return too_many("topics", limits.TOPICS_MAX)
        if self._partition_count + c.partitions > limits.PARTITIONS_MAX:
            return too_many("partitions in all topics", limits.PARTITIONS_MAX)
        return self._add(c, index, now_ms, racks, copies)

    def _add(self, c: CreateTopic, index: int, now_ms: int, racks: Racks, copies: int) -> Result:
        topic_id = self.next_id
        self.next_id += 1
        self._partition_count += c.partitions
        placed = _placed(topic_id, c.partitions, racks, copies)
        self._put(
            TopicInfo(
                name=c.name,
                id=topic_id,
                settings=frozen(c.settings),
                created_ms=now_ms,
                leaders=tuple(nodes[0] if nodes else NOBODY for nodes in placed),
                epochs=(1,) * c.partitions,
                replicas=placed,
                isrs=placed,
                versions=(index,) * c.partitions,
            )
        )
        return Result(Status.OK, created=True, id=topic_id)

    def delete(self, name: str) -> Result:
        """Its id is never used again."""
        topic = self._topics.pop(name, None)
        if topic is None:
            return missing_topic(name)
        self._partition_count -= topic.partitions
        self._view = None
        return Result(Status.OK, id=topic.id)

    def set_replication(self, c: SetReplication, racks: Racks) -> Result:
        """What it wants, not what it has."""
        topic = self._topics.get(c.topic)
        if topic is None:
            return missing_topic(c.topic)
        settings = frozen({**topic.settings, "replication": c.replication})
        problem = settings_problem(settings, TOPIC_SETTINGS) or _insync_problem(
            settings, c.replication
        )
        if problem:
            return Result(Status.INVALID, problem)
        if c.replication > max(len(racks), *map(len, topic.replicas)):
            detail = (
                f"replication={c.replication}, but {len(racks)} nodes are alive: add nodes first"
            )
            return Result(Status.LIMIT, detail)
        if settings != topic.settings:
            self._put(replace(topic, settings=settings))
        return Result(Status.OK, id=topic.id)

    def alter(self, c: AlterPartitions, index: int, may_hold: Callable[[str], bool]) -> Result:
        """All of the changes, or none."""
        refusal = _batch_problem(c.changes) or _first(
            self._change_refusal(one, may_hold) for one in c.changes
        )
        if refusal is not None:
            return refusal
        by_topic: dict[str, list[PartitionChange]] = defaultdict(list)
        for one in c.changes:
            by_topic[one.topic].append(one)
        for name, changes in by_topic.items():
            self._put(changed(self._topics[name], changes, index))
        return Result(Status.OK)

    def _change_refusal(
        self, one: PartitionChange, may_hold: Callable[[str], bool]
    ) -> Result | None:
        topic, where = self._topics.get(one.topic), _where(one)
        if topic is None:
            return missing_topic(one.topic)
        if not 0 <= one.partition < topic.partitions:
            return Result(Status.NOT_FOUND, f"there is no {where}")
        version = topic.versions[one.partition]
        if one.version != version:
            return Result(Status.CONFLICT, f"{where} has version {version}, not {one.version}")
        problem = change_problem(topic, one, may_hold)
        return Result(Status.INVALID, f"{where}: {problem}") if problem else None

    def plan(self, c: PlanMoves, may_hold: Callable[[str], bool]) -> Result:
        """All of the moves, or none."""
        refusal = _batch_problem(c.moves) or _first(
            self._move_refusal(one, may_hold) for one in c.moves
        )
        if refusal is not None:
            return refusal
        by_topic: dict[str, list[Move]] = defaultdict(list)
        for one in c.moves:
            by_topic[one.topic].append(one)
        for name, moves in by_topic.items():
            self._put(bound_for(self._topics[name], moves))
        return Result(Status.OK)

    def _move_refusal(self, one: Move, may_hold: Callable[[str], bool]) -> Result | None:
        topic, where = self._topics.get(one.topic), _where(one)
        if topic is None:
            return missing_topic(one.topic)
        if not 0 <= one.partition < topic.partitions:
            return Result(Status.NOT_FOUND, f"there is no {where}")
        problem = target_problem(one.target, may_hold)
        return Result(Status.INVALID, f"{where}: {problem}") if problem else None

    def bump_epochs(self, node: str, index: int) -> None:
        """A node alone started."""
        for topic in list(self._topics.values()):
            self._put(led_anew(topic, node, index))

    def vacate(self, node: str, index: int) -> None:
        """A node of a cluster began a new life."""
        for topic in list(self._topics.values()):
            self._put(vacated(topic, node, index))

    def spare(self, node: str) -> None:
        """A node was removed."""
        for topic in list(self._topics.values()):
            self._put(spared(topic, node))

    def held_by(self, node: str) -> str | None:
        """A topic of which a node has partitions, or None."""
        for topic in self._topics.values():
            if any(node in replicas for replicas in topic.replicas):
                return topic.name
        return None

    def _put(self, topic: TopicInfo) -> None:
        if self._topics.get(topic.name) is not topic:
            self._topics[topic.name] = topic
            self._view = None

    def to_plain(self) -> list[Any]:
        """One list for each topic; laid out in FORMAT.md."""
        return [_plain(topic) for topic in self._topics.values()]

    @classmethod
    def from_plain(cls, plain: list[Any], next_id: int) -> Topics:
        """Inverse of `to_plain`; reads the columns of older image versions, too."""
        topics = cls()
        topics.next_id = next_id
        topics._topics = {topic[0]: _from_plain(topic) for topic in plain}
        topics._partition_count = sum(t.partitions for t in topics._topics.values())
        return topics


def missing_topic(name: str) -> Result:
    """The answer when there is none of that name."""
    return Result(Status.NOT_FOUND, f"there is no topic {quoted(name)}")


def too_many(what: str, most: int) -> Result:
    """The answer when a bound is reached."""
    return Result(Status.LIMIT, f"at most {most:,} {what}; delete some first")


def _placed(
    topic_id: int, partitions: int, racks: Racks, copies: int
) -> tuple[tuple[str, ...], ...]:
    if copies == 1 and racks:
        return tuple((node,) for node in evenly(topic_id, [""] * partitions, racks))
    return tuple(place(topic_id, p, racks, copies) for p in range(partitions))


def _partitions_problem(partitions: int) -> str | None:
    if 1 <= partitions <= limits.PARTITIONS_PER_TOPIC_MAX:
        return None
    return f"partitions={partitions} must be between 1 and {limits.PARTITIONS_PER_TOPIC_MAX}"


def _insync_problem(settings: Settings, copies: int) -> str | None:
    least = settings.get("min_insync", 1)
    if least <= copies:
        return None
    return f"min_insync={least} is more than the replication, {copies}"


def _existing(topic: TopicInfo, asked: CreateTopic) -> Result:
    if topic.partitions == asked.partitions and topic.settings == asked.settings:
        return Result(Status.OK, id=topic.id)
    detail = (
        f"topic {quoted(topic.name)} exists with partitions={topic.partitions}, "
        f"settings={dict(topic.settings)}; asked for partitions={asked.partitions}, "
        f"settings={dict(sorted(asked.settings.items()))}"
    )
    return Result(Status.CONFLICT, detail, id=topic.id)


def _batch_problem(batch: tuple[PartitionChange, ...] | tuple[Move, ...]) -> Result | None:
    if not 1 <= len(batch) <= limits.PARTITION_CHANGES_MAX:
        detail = f"{len(batch)} changes; there must be 1 to {limits.PARTITION_CHANGES_MAX}"
        return Result(Status.INVALID, detail)
    if len({(one.topic, one.partition) for one in batch}) < len(batch):
        return Result(Status.INVALID, "a partition is named twice")
    return None


def _where(one: PartitionChange | Move) -> str:
    return f"partition {one.partition} of topic {quoted(one.topic)}"


def _first(refusals: Iterable[Result | None]) -> Result | None:
    return next((refusal for refusal in refusals if refusal is not None), None)


def _plain(t: TopicInfo) -> list[Any]:
    columns = [t.leaders, t.epochs, t.replicas, t.isrs, t.versions, t.targets]
    return [t.name, t.id, dict(t.settings), t.created_ms, *columns]


def _from_plain(plain: list[Any]) -> TopicInfo:
    name, topic_id, settings, created_ms, leaders, epochs, *columns = plain
    # Up to image version 2 a partition was with its leader alone, and had no version.
    alone = [[leader] if leader != NOBODY else [] for leader in leaders]
    replicas, isrs, versions, *targets = columns or (alone, alone, [0] * len(leaders))
    return TopicInfo(
        name,
        topic_id,
        frozen(settings),
        created_ms,
        tuple(leaders),
        tuple(epochs),
        tuple(map(tuple, replicas)),
        tuple(map(tuple, isrs)),
        tuple(versions),
        # Up to version 3 nothing moved.
        tuple(map(tuple, targets[0] if targets else ())),
    )

"""The cluster's metadata as a deterministic state machine: state = fold(apply, commands).

`apply` is total: whatever the bytes, it returns a `Result` and leaves a sound state; it validates
before it changes anything, and reads no clock but the times inside the commands. Values are frozen
and shared with the view; only the dictionaries that hold them change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from chronosdb.raft import limits
from chronosdb.raft.commands import (
    NODE_COMMANDS,
    AlterPartitions,
    BumpEpochs,
    ChangeVoters,
    Command,
    CreateTopic,
    DeleteGroup,
    DeleteTopic,
    NodeCommand,
    Noop,
    PartitionChange,
    PutClusterSettings,
    PutGroup,
    PutSchedule,
    RemoveNode,
    Request,
    ScheduleCommand,
    decode,
)
from chronosdb.raft.errors import UnsupportedCommandError
from chronosdb.raft.names import name_problem, quoted
from chronosdb.raft.nodes import Nodes
from chronosdb.raft.partitions import change_problem as partition_problem
from chronosdb.raft.partitions import changed as with_partition
from chronosdb.raft.partitions import led_anew
from chronosdb.raft.placement import place
from chronosdb.raft.result import Result, Status
from chronosdb.raft.schedules import Schedules
from chronosdb.raft.sessions import Sessions
from chronosdb.raft.settings import (
    CLUSTER_SETTINGS,
    GROUP_SETTINGS,
    TOPIC_SETTINGS,
    Settings,
    frozen,
    settings_problem,
)
from chronosdb.raft.view import NOBODY, ClusterView, GroupInfo, TopicInfo
from chronosdb.raft.voters import Voters, change_problem

GROUP_MODES = ("ordered", "shared")
_IMAGE_VERSION = 3
#: image version -> what it did not have yet, at the end: schedules, voters, cluster settings
_EMPTY_SINCE: dict[int, list[Any]] = {1: [[], [0, ()], {}], 2: [[0, ()], {}], 3: []}
_log = logging.getLogger(__name__)


class ClusterState:
    """All metadata, changed only by `apply`."""

    def __init__(self) -> None:
        #: The latest time any command carried. Invariant: never goes back.
        self.clock_ms = 0
        #: Log index of the last command that changed what the view shows.
        self._version = 0
        #: Log index of the command being applied.
        self._index = 0
        #: Invariant: above the id of every topic that ever was.
        self._next_topic_id = 1
        self._topics: dict[str, TopicInfo] = {}
        #: Invariant: the sum of all topics' partitions.
        self._partition_count = 0
        #: Invariant: the topic of every key is in `_topics`.
        self._groups: dict[tuple[str, str], GroupInfo] = {}
        self._nodes = Nodes()
        #: As far as it is applied; `membership.py` has it as far as it is in the log.
        self._voters = Voters(0, ())
        self._settings: Settings = frozen({})
        #: Invariant: the topic of each is in `_topics`.
        self._schedules = Schedules()
        self._sessions = Sessions()
        #: By command; whatever is not in here is about schedules.
        self._appliers: dict[type, Callable[[Any], Result]] = {
            CreateTopic: self._create_topic,
            DeleteTopic: self._delete_topic,
            PutGroup: self._put_group,
            DeleteGroup: self._delete_group,
            **dict.fromkeys(NODE_COMMANDS, self._change_nodes),
            ChangeVoters: self._change_voters,
            AlterPartitions: self._alter_partitions,
            PutClusterSettings: self._put_settings,
            BumpEpochs: self._bump_epochs,
            Noop: lambda _: Result(Status.OK),
        }
        #: Derived from the above; None when it has to be built again.
        self._view: ClusterView | None = None

    @property
    def view(self) -> ClusterView:
        """An immutable copy, built at most once per change. Sharing the values makes it cheap."""
        if self._view is None:
            self._view = ClusterView(
                version=self._version,
                topics=MappingProxyType(dict(self._topics)),
                groups=MappingProxyType(dict(self._groups)),
                nodes=self._nodes.view,
                next_topic_id=self._next_topic_id,
                schedules=self._schedules.view,
                voters=self._voters.names,
                voters_base=self._voters.index,
                settings=self._settings,
            )
        return self._view

    def answer_to(self, request: Request) -> Result | None:
        """The answer this request got before, if it was applied and is remembered."""
        return self._sessions.recall(request.client_id, request.seq)

    def apply_blob(self, blob: bytes, index: int) -> Result:
        """Apply the command at log position `index`. Bytes nobody can read are `unsupported`."""
        try:
            return self.apply(decode(blob), index)
        except UnsupportedCommandError as error:
            return Result(Status.UNSUPPORTED, str(error))
        except MemoryError:
            raise  # This replica's trouble alone: skipping the command here would fork the state.
        except Exception as error:  # noqa: BLE001 - see below
            # An exception would stop every replica at this entry, for ever, restart after restart.
            _log.exception("command at index %d skipped", index)
            return Result(Status.INTERNAL, f"skipped after {type(error).__name__}")

    def apply(self, request: Request, index: int) -> Result:
        """Apply one request, once: a repeated request id gets its first answer back."""
        known = self.answer_to(request)
        if known is not None:
            return known
        assert index > self._version, (index, self._version)
        self._index = index
        self.clock_ms = max(self.clock_ms, request.ts_ms)
        result = self._dispatch(request.command)
        self._sessions.remember(request.client_id, request.seq, result)
        return result

    def _dispatch(self, command: Command) -> Result:
        return self._appliers.get(type(command), self._change_schedules)(command)

    def _create_topic(self, c: CreateTopic) -> Result:
        problem = (
            name_problem("topic", c.name)
            or _partitions_problem(c.partitions)
            or settings_problem(c.settings, TOPIC_SETTINGS)
        )
        if problem:
            return Result(Status.INVALID, problem)
        topic = self._topics.get(c.name)
        if topic is not None:
            return _existing_topic(topic, c)
        if len(self._topics) >= limits.TOPICS_MAX:
            return _limit("topics", limits.TOPICS_MAX)
        if self._partition_count + c.partitions > limits.PARTITIONS_MAX:
            return _limit("partitions in all topics", limits.PARTITIONS_MAX)
        return self._add_topic(c)

    def _add_topic(self, c: CreateTopic) -> Result:
        topic_id = self._next_topic_id
        self._next_topic_id += 1
        self._partition_count += c.partitions
        racks = self._nodes.racks()
        copies = c.settings.get("replication", self._settings.get("replication", 1))
        placed = tuple(place(topic_id, p, racks, copies) for p in range(c.partitions))
        self._topics[c.name] = TopicInfo(
            name=c.name,
            id=topic_id,
            settings=frozen(c.settings),
            created_ms=self.clock_ms,
            leaders=tuple(nodes[0] if nodes else NOBODY for nodes in placed),
            epochs=(1,) * c.partitions,
            replicas=placed,
            isrs=placed,
            versions=(self._index,) * c.partitions,
        )
        self._changed()
        return Result(Status.OK, created=True, id=topic_id)

    def _delete_topic(self, c: DeleteTopic) -> Result:
        topic = self._topics.pop(c.name, None)
        if topic is None:
            return _missing_topic(c.name)
        self._partition_count -= topic.partitions
        for key in [key for key in self._groups if key[0] == c.name]:
            del self._groups[key]
        self._schedules.delete_of_topic(c.name)
        self._changed()
        return Result(Status.OK, id=topic.id)

    def _put_group(self, c: PutGroup) -> Result:
        problem = name_problem("group", c.group) or settings_problem(c.settings, GROUP_SETTINGS)
        if problem is None and c.mode not in GROUP_MODES:
            problem = f"group mode {quoted(c.mode)} must be one of {', '.join(GROUP_MODES)}"
        if problem:
            return Result(Status.INVALID, problem)
        topic = self._topics.get(c.topic)
        if topic is None:
            return _missing_topic(c.topic)
        group = self._groups.get((c.topic, c.group))
        if group is None:
            return self._add_group(c, topic.id)
        if group.mode != c.mode:
            detail = (
                f"group {quoted(c.group)} exists with mode {group.mode}; delete it to change that"
            )
            return Result(Status.CONFLICT, detail, id=topic.id)
        if group.settings != c.settings:
            self._groups[c.topic, c.group] = replace(group, settings=frozen(c.settings))
            self._changed()
        return Result(Status.OK, id=topic.id)

    def _add_group(self, c: PutGroup, topic_id: int) -> Result:
        if len(self._groups) >= limits.GROUPS_MAX:
            return _limit("groups", limits.GROUPS_MAX)
        info = GroupInfo(c.topic, c.group, c.mode, frozen(c.settings), self.clock_ms)
        self._groups[c.topic, c.group] = info
        self._changed()
        return Result(Status.OK, created=True, id=topic_id)

    def _delete_group(self, c: DeleteGroup) -> Result:
        if self._groups.pop((c.topic, c.group), None) is None:
            detail = f"topic {quoted(c.topic)} has no group {quoted(c.group)}"
            return Result(Status.NOT_FOUND, detail)
        self._changed()
        return Result(Status.OK, id=self._topics[c.topic].id)

    def _change_nodes(self, c: NodeCommand) -> Result:
        if isinstance(c, RemoveNode):
            use = self._use_of(c.node)
            if use:
                return Result(Status.CONFLICT, f"node {quoted(c.node)} {use}")
        before = self._nodes.view
        result = self._nodes.apply(c)
        if self._nodes.view is not before:
            self._changed()
        return result

    def _use_of(self, node: str) -> str | None:
        """Why a node cannot be spared, or None."""
        if node in self._voters.names:
            return "votes; take its vote first"
        for topic in self._topics.values():
            if any(node in replicas for replicas in topic.replicas):
                return f"holds partitions of topic {quoted(topic.name)}; move them first"
        return None

    def _change_voters(self, c: ChangeVoters) -> Result:
        problem = change_problem(self._voters, c)
        if problem:
            return Result(Status.CONFLICT, problem)
        self._voters = Voters(self._index, c.voters)
        self._changed()
        return Result(Status.OK)

    def _alter_partitions(self, c: AlterPartitions) -> Result:
        if not 1 <= len(c.changes) <= limits.PARTITION_CHANGES_MAX:
            detail = f"{len(c.changes)} changes; there must be 1 to {limits.PARTITION_CHANGES_MAX}"
            return Result(Status.INVALID, detail)
        if len({(one.topic, one.partition) for one in c.changes}) < len(c.changes):
            return Result(Status.INVALID, "a partition is named twice")
        for one in c.changes:
            refusal = self._partition_refusal(one)
            if refusal is not None:
                return refusal
        for one in c.changes:
            self._topics[one.topic] = with_partition(self._topics[one.topic], one, self._index)
        self._changed()
        return Result(Status.OK)

    def _partition_refusal(self, one: PartitionChange) -> Result | None:
        topic = self._topics.get(one.topic)
        if topic is None:
            return _missing_topic(one.topic)
        where = f"partition {one.partition} of topic {quoted(one.topic)}"
        if not 0 <= one.partition < topic.partitions:
            return Result(Status.NOT_FOUND, f"there is no {where}")
        version = topic.versions[one.partition]
        if one.version != version:
            return Result(Status.CONFLICT, f"{where} has version {version}, not {one.version}")
        problem = partition_problem(topic, one, self._nodes.may_hold)
        return Result(Status.INVALID, f"{where}: {problem}") if problem else None

    def _put_settings(self, c: PutClusterSettings) -> Result:
        problem = settings_problem(c.settings, CLUSTER_SETTINGS)
        if problem:
            return Result(Status.INVALID, problem)
        if c.settings != self._settings:
            self._settings = frozen(c.settings)
            self._changed()
        return Result(Status.OK)

    def _bump_epochs(self, c: BumpEpochs) -> Result:
        if not self._nodes.may_hold(c.node):
            return Result(Status.NOT_FOUND, f"node {quoted(c.node)} is not registered")
        for name, topic in self._topics.items():
            self._topics[name] = led_anew(topic, c.node, self._index)
            if self._topics[name] is not topic:
                self._changed()
        return Result(Status.OK)

    def _change_schedules(self, c: ScheduleCommand) -> Result:
        if isinstance(c, PutSchedule) and c.topic not in self._topics:
            return _missing_topic(c.topic)
        before = self._schedules.view
        result = self._schedules.apply(c, self._index)
        if self._schedules.view is not before:
            self._changed()
        return result

    def _changed(self) -> None:
        self._version = self._index
        self._view = None

    def to_plain(self) -> list[Any]:
        """The whole state as msgpack can carry it; laid out in FORMAT.md."""
        return [
            _IMAGE_VERSION,
            self.clock_ms,
            self._version,
            self._next_topic_id,
            self._nodes.to_plain(),
            [_plain_topic(topic) for topic in self._topics.values()],
            [
                [g.topic, g.group, g.mode, dict(g.settings), g.created_ms]
                for g in self._groups.values()
            ],
            self._sessions.to_plain(),
            self._schedules.to_plain(),
            [self._voters.index, self._voters.names],
            dict(self._settings),
        ]

    def restore(self, plain: list[Any]) -> None:
        """Become the state that `to_plain` described; raises ValueError for another version."""
        version, *rest = plain
        if version not in _EMPTY_SINCE:
            raise ValueError(f"state version {version}; this version reads 1 to {_IMAGE_VERSION}")
        rest += _EMPTY_SINCE[version]
        self.clock_ms, self._version, self._next_topic_id, nodes, topics, groups, *rest = rest
        sessions, schedules, (base, voters), cluster = rest
        self._nodes = Nodes.from_plain(nodes)
        self._topics = {topic[0]: _topic_from_plain(topic) for topic in topics}
        self._voters = Voters(base, tuple(voters))
        self._settings = frozen(cluster)
        self._groups = {
            (topic, group): GroupInfo(topic, group, mode, frozen(s), ms)
            for topic, group, mode, s, ms in groups
        }
        self._partition_count = sum(t.partitions for t in self._topics.values())
        self._sessions = Sessions.from_plain(sessions)
        self._schedules = Schedules.from_plain(schedules)
        self._view = None


def _partitions_problem(partitions: int) -> str | None:
    if 1 <= partitions <= limits.PARTITIONS_PER_TOPIC_MAX:
        return None
    return f"partitions={partitions} must be between 1 and {limits.PARTITIONS_PER_TOPIC_MAX}"


def _existing_topic(topic: TopicInfo, asked: CreateTopic) -> Result:
    if topic.partitions == asked.partitions and topic.settings == asked.settings:
        return Result(Status.OK, id=topic.id)
    detail = (
        f"topic {quoted(topic.name)} exists with partitions={topic.partitions}, "
        f"settings={dict(topic.settings)}; asked for partitions={asked.partitions}, "
        f"settings={dict(sorted(asked.settings.items()))}"
    )
    return Result(Status.CONFLICT, detail, id=topic.id)


def _plain_topic(t: TopicInfo) -> list[Any]:
    columns = [t.leaders, t.epochs, t.replicas, t.isrs, t.versions]
    return [t.name, t.id, dict(t.settings), t.created_ms, *columns]


def _topic_from_plain(plain: list[Any]) -> TopicInfo:
    name, topic_id, settings, created_ms, leaders, epochs, *columns = plain
    # Up to image version 2 a partition was with its leader alone, and had no version.
    alone = [[leader] if leader != NOBODY else [] for leader in leaders]
    replicas, isrs, versions = columns or (alone, alone, [0] * len(leaders))
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
    )


def _missing_topic(name: str) -> Result:
    return Result(Status.NOT_FOUND, f"there is no topic {quoted(name)}")


def _limit(what: str, most: int) -> Result:
    return Result(Status.LIMIT, f"at most {most:,} {what}; delete some first")

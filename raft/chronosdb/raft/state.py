"""The cluster's metadata as a deterministic state machine: state = fold(apply, commands).

`apply` is total: whatever the bytes, it returns a `Result` and leaves a sound state; it validates
before it changes anything, and reads no clock but the times inside the commands. Values are frozen
and shared with the view; only the dictionaries that hold them change.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from chronosdb.raft import limits
from chronosdb.raft.commands import (
    BumpEpochs,
    Command,
    CreateTopic,
    DeleteGroup,
    DeleteTopic,
    Noop,
    PutGroup,
    PutSchedule,
    RegisterNode,
    Request,
    ScheduleCommand,
    decode,
)
from chronosdb.raft.errors import UnsupportedCommandError
from chronosdb.raft.names import address_problem, name_problem, quoted
from chronosdb.raft.placement import spread
from chronosdb.raft.result import Result, Status
from chronosdb.raft.schedules import Schedules
from chronosdb.raft.sessions import Sessions
from chronosdb.raft.settings import GROUP_SETTINGS, TOPIC_SETTINGS, frozen, settings_problem
from chronosdb.raft.view import NOBODY, ClusterView, GroupInfo, NodeInfo, TopicInfo

GROUP_MODES = ("ordered", "shared")
_IMAGE_VERSION = 2
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
        self._nodes: dict[str, NodeInfo] = {}
        #: Invariant: the topic of each is in `_topics`.
        self._schedules = Schedules()
        self._sessions = Sessions()
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
                nodes=MappingProxyType(dict(self._nodes)),
                next_topic_id=self._next_topic_id,
                schedules=self._schedules.view,
            )
        return self._view

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
        known = self._sessions.recall(request.client_id, request.seq)
        if known is not None:
            return known
        assert index > self._version, (index, self._version)
        self._index = index
        self.clock_ms = max(self.clock_ms, request.ts_ms)
        result = self._dispatch(request.command)
        self._sessions.remember(request.client_id, request.seq, result)
        return result

    def _dispatch(self, command: Command) -> Result:  # noqa: PLR0911 - one per command
        match command:
            case CreateTopic():
                return self._create_topic(command)
            case DeleteTopic():
                return self._delete_topic(command)
            case PutGroup():
                return self._put_group(command)
            case DeleteGroup():
                return self._delete_group(command)
            case RegisterNode():
                return self._register_node(command)
            case BumpEpochs():
                return self._bump_epochs(command)
            case Noop():
                return Result(Status.OK)
            case _:
                return self._change_schedules(command)

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
        self._topics[c.name] = TopicInfo(
            name=c.name,
            id=topic_id,
            settings=frozen(c.settings),
            created_ms=self.clock_ms,
            leaders=spread(c.partitions, self._nodes, topic_id),
            epochs=(1,) * c.partitions,
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

    def _register_node(self, c: RegisterNode) -> Result:
        problem = name_problem("node", c.node) or address_problem(c.address)
        if problem is None and not 0 <= c.incarnation <= limits.INTEGER_MAX:
            problem = f"incarnation {c.incarnation} must be between 0 and {limits.INTEGER_MAX}"
        if problem:
            return Result(Status.INVALID, problem)
        known = self._nodes.get(c.node)
        if known is None and len(self._nodes) >= limits.NODES_MAX:
            return _limit("nodes", limits.NODES_MAX)
        if known is not None and c.incarnation < known.incarnation:
            detail = (
                f"node {quoted(c.node)} has since registered as incarnation {known.incarnation}"
            )
            return Result(Status.CONFLICT, detail)
        info = NodeInfo(c.node, c.address, c.incarnation)
        if info != known:
            self._nodes[c.node] = info
            self._changed()
        return Result(Status.OK, created=known is None)

    def _bump_epochs(self, c: BumpEpochs) -> Result:
        if c.node not in self._nodes:
            return Result(Status.NOT_FOUND, f"node {quoted(c.node)} is not registered")
        for name, topic in self._topics.items():
            if c.node in topic.leaders or NOBODY in topic.leaders:
                self._topics[name] = _led_anew(topic, c.node)
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
            [[n.node, n.address, n.incarnation] for n in self._nodes.values()],
            [
                [t.name, t.id, dict(t.settings), t.created_ms, t.leaders, t.epochs]
                for t in self._topics.values()
            ],
            [
                [g.topic, g.group, g.mode, dict(g.settings), g.created_ms]
                for g in self._groups.values()
            ],
            self._sessions.to_plain(),
            self._schedules.to_plain(),
        ]

    def restore(self, plain: list[Any]) -> None:
        """Become the state that `to_plain` described; raises ValueError for another version."""
        version, *rest = plain
        if version not in {1, _IMAGE_VERSION}:
            raise ValueError(f"state version {version}; this version reads 1 to {_IMAGE_VERSION}")
        # Version 1 had no schedules.
        schedules = rest.pop() if version > 1 else []
        self.clock_ms, self._version, self._next_topic_id, nodes, topics, groups, sessions = rest
        self._nodes = {n[0]: NodeInfo(*n) for n in nodes}
        self._topics = {
            name: TopicInfo(name, topic_id, frozen(s), ms, tuple(leaders), tuple(epochs))
            for name, topic_id, s, ms, leaders, epochs in topics
        }
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


def _led_anew(topic: TopicInfo, node: str) -> TopicInfo:
    ours = (node, NOBODY)
    led = list(zip(topic.leaders, topic.epochs, strict=True))
    return replace(
        topic,
        leaders=tuple(node if leader in ours else leader for leader, _ in led),
        epochs=tuple(epoch + (leader in ours) for leader, epoch in led),
    )


def _missing_topic(name: str) -> Result:
    return Result(Status.NOT_FOUND, f"there is no topic {quoted(name)}")


def _limit(what: str, most: int) -> Result:
    return Result(Status.LIMIT, f"at most {most:,} {what}; delete some first")

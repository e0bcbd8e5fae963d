"""The cluster's metadata as a deterministic state machine: state = fold(apply, commands).

`apply` is total: whatever the bytes, it returns a `Result` and leaves a sound state; it validates
before it changes anything, and reads no clock but the times inside the commands. Values are frozen
and shared with the view; only the dictionaries that hold them change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from chronosdb.raft.commands import (
    GROUP_COMMANDS,
    NODE_COMMANDS,
    AlterPartitions,
    BeginLife,
    BumpEpochs,
    ChangeVoters,
    Command,
    CreateTopic,
    DeleteTopic,
    GroupCommand,
    NodeCommand,
    Noop,
    PlanMoves,
    PutClusterSettings,
    PutSchedule,
    RemoveNode,
    Request,
    ScheduleCommand,
    SetReplication,
)
from chronosdb.raft.encoding import decode
from chronosdb.raft.errors import UnsupportedCommandError
from chronosdb.raft.groups import Groups
from chronosdb.raft.names import quoted
from chronosdb.raft.nodes import Nodes
from chronosdb.raft.result import Result, Status
from chronosdb.raft.schedules import Schedules
from chronosdb.raft.sessions import Sessions
from chronosdb.raft.settings import CLUSTER_SETTINGS, Settings, frozen, settings_problem
from chronosdb.raft.topics import Topics, missing_topic
from chronosdb.raft.view import ClusterView
from chronosdb.raft.voters import Voters, change_problem

_IMAGE_VERSION = 4
#: image version -> what it did not have yet, at the end: schedules, voters, cluster settings
_EMPTY_SINCE: dict[int, list[Any]] = {1: [[], [0, ()], {}], 2: [[0, ()], {}], 3: [], 4: []}
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
        self._topics = Topics()
        #: Invariant: the topic of each is in `_topics`.
        self._groups = Groups()
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
            SetReplication: lambda c: self._topics.set_replication(c, self._nodes.racks()),
            **dict.fromkeys(GROUP_COMMANDS, self._change_groups),
            **dict.fromkeys(NODE_COMMANDS, self._change_nodes),
            ChangeVoters: self._change_voters,
            AlterPartitions: lambda c: self._topics.alter(c, self._index, self._nodes.may_hold),
            PlanMoves: lambda c: self._topics.plan(c, self._nodes.may_hold),
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
                topics=self._topics.view,
                groups=self._groups.view,
                nodes=self._nodes.view,
                next_topic_id=self._topics.next_id,
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
        before = self._parts()
        result = self._dispatch(request.command)
        if any(now is not then for now, then in zip(self._parts(), before, strict=True)):
            self._version = index
            self._view = None
        self._sessions.remember(request.client_id, request.seq, result)
        return result

    def _parts(self) -> tuple[object, ...]:
        """What the view shows; each part stays the same object until it changes."""
        parts = (self._topics, self._groups, self._nodes, self._schedules)
        return (*(part.view for part in parts), self._voters, self._settings)

    def _dispatch(self, command: Command) -> Result:
        return self._appliers.get(type(command), self._change_schedules)(command)

    def _create_topic(self, c: CreateTopic) -> Result:
        copies = self._settings.get("replication", 1)
        return self._topics.create(c, self._index, self.clock_ms, self._nodes.racks(), copies)

    def _delete_topic(self, c: DeleteTopic) -> Result:
        result = self._topics.delete(c.name)
        if result.ok:
            self._groups.delete_of_topic(c.name)
            self._schedules.delete_of_topic(c.name)
        return result

    def _change_groups(self, c: GroupCommand) -> Result:
        return self._groups.apply(c, self._topics.get(c.topic), self._index, self.clock_ms)

    def _change_nodes(self, c: NodeCommand) -> Result:
        if isinstance(c, RemoveNode):
            use = self._use_of(c.node)
            if use:
                return Result(Status.CONFLICT, f"node {quoted(c.node)} {use}")
        before = self._nodes.view.get(c.node)
        result = self._nodes.apply(c)
        if result.ok and isinstance(c, RemoveNode):
            self._topics.spare(c.node)
        last = before.incarnation if before is not None else 0
        # One that says it twice has not lived twice.
        if result.ok and isinstance(c, BeginLife) and c.incarnation > last:
            self._topics.vacate(c.node, self._index)
        return result

    def _use_of(self, node: str) -> str | None:
        """Why a node cannot be spared, or None."""
        if node in self._voters.names:
            return "votes; take its vote first"
        topic = self._topics.held_by(node)
        return f"holds partitions of topic {quoted(topic)}; move them first" if topic else None

    def _change_voters(self, c: ChangeVoters) -> Result:
        problem = change_problem(self._voters, c)
        if problem:
            return Result(Status.CONFLICT, problem)
        self._voters = Voters(self._index, c.voters)
        return Result(Status.OK)

    def _put_settings(self, c: PutClusterSettings) -> Result:
        problem = settings_problem(c.settings, CLUSTER_SETTINGS)
        if problem:
            return Result(Status.INVALID, problem)
        if c.settings != self._settings:
            self._settings = frozen(c.settings)
        return Result(Status.OK)

    def _bump_epochs(self, c: BumpEpochs) -> Result:
        if not self._nodes.may_hold(c.node):
            return Result(Status.NOT_FOUND, f"node {quoted(c.node)} is not registered")
        self._topics.bump_epochs(c.node, self._index)
        return Result(Status.OK)

    def _change_schedules(self, c: ScheduleCommand) -> Result:
        if isinstance(c, PutSchedule) and self._topics.get(c.topic) is None:
            return missing_topic(c.topic)
        return self._schedules.apply(c, self._index)

    def to_plain(self) -> list[Any]:
        """The whole state as msgpack can carry it; laid out in FORMAT.md."""
        return [
            _IMAGE_VERSION,
            self.clock_ms,
            self._version,
            self._topics.next_id,
            self._nodes.to_plain(),
            self._topics.to_plain(),
            self._groups.to_plain(),
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
        self.clock_ms, self._version, next_id, nodes, topics, groups, *rest = rest
        sessions, schedules, (base, voters), cluster = rest
        self._nodes = Nodes.from_plain(nodes)
        self._topics = Topics.from_plain(topics, next_id)
        self._groups = Groups.from_plain(groups)
        self._voters = Voters(base, tuple(voters))
        self._settings = frozen(cluster)
        self._sessions = Sessions.from_plain(sessions)
        self._schedules = Schedules.from_plain(schedules)
        self._view = None

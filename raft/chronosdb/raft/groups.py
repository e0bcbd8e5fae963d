"""Consumer groups as replicated state, and which member of an ordered one reads what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from chronosdb.raft import limits
from chronosdb.raft.commands import DeleteGroup, GroupCommand, PutAssignment, PutGroup
from chronosdb.raft.names import name_problem, quoted
from chronosdb.raft.result import Result, Status
from chronosdb.raft.settings import GROUP_SETTINGS, frozen, settings_problem
from chronosdb.raft.topics import missing_topic, too_many
from chronosdb.raft.view import GroupInfo, TopicInfo

_ORDERED = "ordered"
GROUP_MODES = (_ORDERED, "shared")


class Groups:
    """All groups by topic and name. Invariant, kept by the state: of each there is the topic."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], GroupInfo] = {}
        #: Derived from `_groups`; None when it has to be built again.
        self._view: Mapping[tuple[str, str], GroupInfo] | None = None

    @property
    def view(self) -> Mapping[tuple[str, str], GroupInfo]:
        """An immutable copy, and the same one until something changes."""
        if self._view is None:
            self._view = MappingProxyType(dict(self._groups))
        return self._view

    def apply(
        self, command: GroupCommand, topic: TopicInfo | None, index: int, now_ms: int
    ) -> Result:
        """Apply one command at log position `index`; `topic` is the one that it names."""
        if isinstance(command, PutGroup):
            return self._put_group(command, topic, now_ms)
        group = self._groups.get((command.topic, command.group))
        if group is None or topic is None:
            detail = f"topic {quoted(command.topic)} has no group {quoted(command.group)}"
            return Result(Status.NOT_FOUND, detail)
        if isinstance(command, DeleteGroup):
            self._put((command.topic, command.group), None)
            return Result(Status.OK, id=topic.id)
        return self._assign(command, group, topic, index)

    def _put_group(self, c: PutGroup, topic: TopicInfo | None, now_ms: int) -> Result:
        problem = name_problem("group", c.group) or settings_problem(c.settings, GROUP_SETTINGS)
        if problem is None and c.mode not in GROUP_MODES:
            problem = f"group mode {quoted(c.mode)} must be one of {', '.join(GROUP_MODES)}"
        if problem:
            return Result(Status.INVALID, problem)
        if topic is None:
            return missing_topic(c.topic)
        group = self._groups.get((c.topic, c.group))
        if group is None:
            if len(self._groups) >= limits.GROUPS_MAX:
                return too_many("groups", limits.GROUPS_MAX)
            new = GroupInfo(c.topic, c.group, c.mode, frozen(c.settings), now_ms)
            self._put((c.topic, c.group), new)
            return Result(Status.OK, created=True, id=topic.id)
        if group.mode != c.mode:
            detail = (
                f"group {quoted(c.group)} exists with mode {group.mode}; delete it to change that"
            )
            return Result(Status.CONFLICT, detail, id=topic.id)
        if group.settings != c.settings:
            self._put((c.topic, c.group), replace(group, settings=frozen(c.settings)))
        return Result(Status.OK, id=topic.id)

    def _assign(self, c: PutAssignment, group: GroupInfo, topic: TopicInfo, index: int) -> Result:
        problem = _assignment_problem(c, group, topic)
        if problem:
            return Result(Status.INVALID, problem)
        if c.generation != group.generation:
            detail = (
                f"group {quoted(c.group)} was assigned at {group.generation}, not {c.generation}"
            )
            return Result(Status.CONFLICT, detail, id=topic.id)
        owners = tuple("" if owner < 0 else c.members[owner] for owner in c.owners)
        self._put((c.topic, c.group), replace(group, generation=index, owners=owners))
        return Result(Status.OK, id=topic.id)

    def delete_of_topic(self, topic: str) -> None:
        """A topic was deleted."""
        for key in [key for key in self._groups if key[0] == topic]:
            self._put(key, None)

    def _put(self, key: tuple[str, str], group: GroupInfo | None) -> None:
        if group is None:
            del self._groups[key]
        else:
            self._groups[key] = group
        self._view = None

    def to_plain(self) -> list[Any]:
        """One list for each group; laid out in FORMAT.md."""
        return [
            [g.topic, g.group, g.mode, dict(g.settings), g.created_ms, g.generation, g.owners]
            for g in self._groups.values()
        ]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Groups:
        """Inverse of `to_plain`; reads the five fields of a group of image version 3, too."""
        groups = cls()
        for topic, name, mode, settings, created_ms, *assigned in plain:
            generation, owners = assigned or (0, ())
            groups._groups[topic, name] = GroupInfo(
                topic, name, mode, frozen(settings), created_ms, generation, tuple(owners)
            )
        return groups


def _assignment_problem(c: PutAssignment, group: GroupInfo, topic: TopicInfo) -> str | None:
    if group.mode != _ORDERED:
        return f"group {quoted(c.group)} is {group.mode}: every member reads every partition"
    if len(c.members) > limits.MEMBERS_MAX or list(c.members) != sorted(set(c.members)):
        return f"there must be at most {limits.MEMBERS_MAX:,} members, sorted, each named once"
    if not all(1 <= len(member) <= limits.MEMBER_CHARS_MAX for member in c.members):
        return f"a member's name must have 1 to {limits.MEMBER_CHARS_MAX} characters"
    if len(c.owners) != topic.partitions:
        return f"{len(c.owners)} owners for {topic.partitions} partitions"
    if {owner for owner in c.owners if owner != -1} != set(range(len(c.members))):
        return "an owner must be the index of a member, or -1, and every member must own something"
    return None

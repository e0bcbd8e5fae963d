"""Who is attached where, in the whole cluster, as far as nodes have said it lately (no clock, no IO)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from chronosdb.node.members.reports import GroupKey, Reception, Report

#: A node that has not reported for so long has nobody: its members are elsewhere, or gone.
SILENCE_S: Final = 3.0
#: For so long a member that is at some nodes is waited for at the others.
PATIENCE_S: Final = 10.0


@dataclass(slots=True)
class _Node:
    life: int
    number: int
    heard_s: float
    groups: frozenset[GroupKey]


class Register:
    """The members of ordered groups, by node. `now_s` is the caller's, and never goes back."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        #: Invariant: no group without nodes, no node without members.
        self._groups: dict[GroupKey, dict[str, frozenset[str]]] = {}
        #: Members that are elsewhere and not at a node that leads partitions of theirs: since when.
        self._missing: dict[GroupKey, dict[tuple[str, str], float]] = {}
        #: Groups whose members are others than when they were last asked for.
        self.changed: set[GroupKey] = set()

    def take(self, node: str, report: Report, now_s: float) -> Reception:
        """What a node says of its members."""
        known = self._nodes.get(node)
        if report.attached is None:
            if known is None or (known.life, known.number) != (report.life, report.number):
                return Reception.UNKNOWN
            known.heard_s = now_s
            return Reception.KNOWN
        if known is not None and known.life == report.life and known.number > report.number:
            return Reception.KNOWN  # it was overtaken on its way
        groups = {(a.topic, a.group): frozenset(a.members) for a in report.attached if a.members}
        for key in sorted(known.groups - groups.keys()) if known is not None else ():
            self._put(key, node, frozenset())
        for key, members in groups.items():
            self._put(key, node, members)
        self._nodes[node] = _Node(report.life, report.number, now_s, frozenset(groups))
        return Reception.KNOWN

    def forget_silent(self, now_s: float, gone: Collection[str] = ()) -> None:
        """Nodes that have fallen silent, and those that are `gone`, have nobody any more."""
        silent = [n for n, known in self._nodes.items() if now_s - known.heard_s > SILENCE_S]
        for node in sorted({*silent, *gone} & self._nodes.keys()):
            for key in self._nodes.pop(node).groups:
                self._put(key, node, frozenset())

    def heard_of(self, nodes: Iterable[str]) -> bool:
        """Whether each of these nodes has said who is attached to it."""
        return all(node in self._nodes for node in nodes)

    def groups(self) -> list[GroupKey]:
        """Those with members, in no order."""
        return list(self._groups)

    def members(self, key: GroupKey) -> set[str]:
        """The members of a group, wherever they are attached."""
        return set().union(*self._groups.get(key, {}).values())

    def missing(
        self, key: GroupKey, leaders: Collection[str], now_s: float
    ) -> Mapping[str, set[str]]:
        """By leading node, the members that are not there, though they were waited for."""
        there = self._groups.get(key, {})
        everyone = self.members(key)
        absent = [
            (node, member)
            for node in sorted(leaders)
            if node in self._nodes
            for member in sorted(everyone - there.get(node, frozenset()))
        ]
        since = self._missing.get(key, {})
        since = {place: since.get(place, now_s) for place in absent}
        self._missing[key] = since
        if not since:
            del self._missing[key]
        late: defaultdict[str, set[str]] = defaultdict(set)
        for (node, member), from_s in since.items():
            if now_s - from_s >= PATIENCE_S:
                late[node].add(member)
        return late

    def _put(self, key: GroupKey, node: str, members: frozenset[str]) -> None:
        nodes = self._groups.setdefault(key, {})
        if nodes.get(node, frozenset()) != members:
            self.changed.add(key)
        if members:
            nodes[node] = members
        else:
            nodes.pop(node, None)
        if not nodes:
            del self._groups[key]
            self._missing.pop(key, None)

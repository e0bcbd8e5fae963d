"""The nodes of the cluster as replicated state: who they are, where, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, assert_never

from chronosdb.raft import limits
from chronosdb.raft.commands import (
    AdmitNode,
    BeginLife,
    EnrollNode,
    NodeCommand,
    RegisterNode,
    RemoveNode,
    SetNodeState,
)
from chronosdb.raft.names import address_problem, name_problem, quoted
from chronosdb.raft.result import Result, Status
from chronosdb.raft.view import NodeInfo, NodeState

#: What a command may make of a node; LEFT comes by `RemoveNode` alone.
_SETTABLE = (NodeState.ALIVE, NodeState.FENCED, NodeState.DRAINING)


class Nodes:
    """All nodes by name, also those that left."""

    def __init__(self) -> None:
        #: Invariant: a name that is in here stays.
        self._nodes: dict[str, NodeInfo] = {}
        #: Derived from `_nodes`; None when it has to be built again.
        self._view: Mapping[str, NodeInfo] | None = None

    @property
    def view(self) -> Mapping[str, NodeInfo]:
        """An immutable copy, and the same one until something changes."""
        if self._view is None:
            self._view = MappingProxyType(dict(self._nodes))
        return self._view

    def racks(self) -> dict[str, str]:
        """The rack of each node that may be given partitions."""
        alive = (n for n in self._nodes.values() if n.state is NodeState.ALIVE)
        return {n.node: n.rack for n in alive}

    def may_hold(self, node: str) -> bool:
        """Whether a partition may have a replica there."""
        known = self._nodes.get(node)
        return known is not None and not known.has_left

    def apply(self, command: NodeCommand) -> Result:  # noqa: PLR0911 - one per command
        """Apply one command. Whether a node can be spared is the caller's to judge."""
        problem = name_problem("node", command.node)
        if problem:
            return Result(Status.INVALID, problem)
        known = self._nodes.get(command.node)
        if known is not None and known.has_left:
            return self._removed(command)
        match command:
            case RegisterNode() | BeginLife():
                return self._register(command, known)
            case AdmitNode():
                return self._admit(command, known)
            case EnrollNode():
                return self._enroll(command, known)
            case SetNodeState():
                return self._set_state(command, known)
            case RemoveNode():
                return self._remove(command, known)
        assert_never(command)

    def _removed(self, command: NodeCommand) -> Result:
        if isinstance(command, RemoveNode):
            return Result(Status.OK)
        detail = f"node {quoted(command.node)} was removed for good; come back under another name"
        return Result(Status.CONFLICT, detail)

    def _register(self, c: RegisterNode | BeginLife, known: NodeInfo | None) -> Result:
        problem = address_problem(c.address)
        if problem is None and not 0 <= c.incarnation <= limits.INTEGER_MAX:
            problem = f"incarnation {c.incarnation} must be between 0 and {limits.INTEGER_MAX}"
        if problem:
            return Result(Status.INVALID, problem)
        if known is not None and c.incarnation < known.incarnation:
            detail = (
                f"node {quoted(c.node)} has since registered as incarnation {known.incarnation}"
            )
            return Result(Status.CONFLICT, detail)
        # A node alone is alive; in a cluster the controller says so, once it has heard of it.
        state = NodeState.FENCED if isinstance(c, BeginLife) else NodeState.ALIVE
        before = known or NodeInfo(c.node, "", 0, state=state)
        return self._put(replace(before, address=c.address, incarnation=c.incarnation))

    def _admit(self, c: AdmitNode, known: NodeInfo | None) -> Result:
        problem = address_problem(c.peer_address)
        if problem is None and c.rack:
            problem = name_problem("rack", c.rack)
        if problem:
            return Result(Status.INVALID, problem)
        before = known or NodeInfo(c.node, "", 0, state=NodeState.FENCED)
        return self._put(replace(before, peer_address=c.peer_address, rack=c.rack))

    def _enroll(self, c: EnrollNode, known: NodeInfo | None) -> Result:
        problem = address_problem(c.peer_address) or _birth_problem(c.birth)
        if problem:
            return Result(Status.INVALID, problem)
        before = known or NodeInfo(c.node, "", 0, state=NodeState.FENCED)
        if before.birth not in {"", c.birth}:
            detail = (
                f"node {quoted(c.node)} has another data directory; one that lost its disk must"
                " come back under another name"
            )
            return Result(Status.CONFLICT, detail)
        return self._put(replace(before, peer_address=c.peer_address, birth=c.birth))

    def _set_state(self, c: SetNodeState, known: NodeInfo | None) -> Result:
        if c.state not in _SETTABLE:
            detail = f"node state {quoted(c.state)} must be one of {', '.join(_SETTABLE)}"
            return Result(Status.INVALID, detail)
        if known is None:
            return _missing(c.node)
        if c.incarnation != known.incarnation:
            detail = f"node {quoted(c.node)} now is incarnation {known.incarnation}"
            return Result(Status.CONFLICT, detail)
        return self._put(replace(known, state=NodeState(c.state)))

    def _remove(self, c: RemoveNode, known: NodeInfo | None) -> Result:
        # Also one that is not known: a first voter may be gone for good before it ever enrolled.
        return self._put(replace(known or NodeInfo(c.node, "", 0), state=NodeState.LEFT))

    def _put(self, info: NodeInfo) -> Result:
        known = self._nodes.get(info.node)
        if known is None and len(self._nodes) >= limits.NODES_MAX:
            return Result(Status.LIMIT, f"at most {limits.NODES_MAX:,} nodes, those that left too")
        if info != known:
            self._nodes[info.node] = info
            self._view = None
        return Result(Status.OK, created=known is None)

    def to_plain(self) -> list[Any]:
        """One list for each node; laid out in FORMAT.md."""
        return [
            [n.node, n.address, n.incarnation, n.peer_address, n.rack, n.birth, n.state.value]
            for n in self._nodes.values()
        ]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Nodes:
        """Inverse of `to_plain`; reads the three fields of a node of image version 2, too."""
        nodes = cls()
        for name, address, incarnation, *rest in plain:
            peer_address, rack, birth, state = rest or ("", "", "", NodeState.ALIVE)
            nodes._nodes[name] = NodeInfo(
                name, address, incarnation, peer_address, rack, birth, NodeState(state)
            )
        return nodes


def _birth_problem(birth: str) -> str | None:
    if 1 <= len(birth) <= limits.BIRTH_CHARS_MAX and birth.isascii() and birth.isalnum():
        return None
    return f"birth {quoted(birth)} must have 1 to {limits.BIRTH_CHARS_MAX} letters and digits"


def _missing(node: str) -> Result:
    return Result(Status.NOT_FOUND, f"node {quoted(node)} is not known")

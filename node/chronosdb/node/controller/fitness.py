"""Which nodes may lead, and which are to be fenced or taken back (pure)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from chronosdb.node.controller.liveness import Liveness
from chronosdb.raft import ClusterView, NodeInfo, NodeState


@dataclass(frozen=True, slots=True)
class Fitness:
    """The nodes, at one moment."""

    #: Whoever may go on leading, and may be elected where nobody better can.
    able: frozenset[str]
    #: Of them, whoever should be given more.
    willing: frozenset[str]
    #: Alive as the metadata says, and not so.
    lost: tuple[NodeInfo, ...]
    #: Fenced as the metadata says, and well.
    back: tuple[NodeInfo, ...]


def judge(view: ClusterView, liveness: Liveness, far_off: Collection[str], now_s: float) -> Fitness:
    """By what was heard of each, and by whose clock is wrong."""
    nodes = [node for node in view.nodes.values() if not node.has_left]
    well = {
        node.node
        for node in nodes
        if node.node not in far_off
        and not liveness.is_silent(node.node, now_s)
        and not liveness.is_deaf(node.node)
    }
    heard = {node.node for node in nodes if node.node in well and _is_heard(liveness, node)}
    able = {
        node.node
        for node in nodes
        if node.node in well
        and node.state is not NodeState.FENCED
        # One that nobody could hear yet has its time; one that began a new life must show itself.
        and (node.node in heard or liveness.last(node.node) is None)
    }
    willing = {
        node.node
        for node in nodes
        if node.node in able and node.state is NodeState.ALIVE and not _resigns(liveness, node)
    }
    return Fitness(
        able=frozenset(able),
        willing=frozenset(willing),
        lost=tuple(n for n in nodes if n.state is NodeState.ALIVE and n.node not in well),
        back=tuple(n for n in nodes if n.state is NodeState.FENCED and n.node in heard),
    )


def _is_heard(liveness: Liveness, node: NodeInfo) -> bool:
    """In the life that the metadata knows."""
    last = liveness.last(node.node)
    return last is not None and last.beat.incarnation == node.incarnation


def _resigns(liveness: Liveness, node: NodeInfo) -> bool:
    last = liveness.last(node.node)
    return last is not None and last.beat.resigns

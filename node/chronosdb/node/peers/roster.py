"""Who belongs to the cluster, as far as this node knows: whom it dials and whom it lets in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chronosdb.node.peers.handshake import Refusal
from chronosdb.raft import NodeInfo, NodeState


@dataclass(frozen=True, slots=True)
class Member:
    """Another node."""

    #: Where it listens for peers, "host:port"; empty if that is not known yet.
    address: str
    #: Its data directory's name; empty if it never said.
    birth: str = ""
    removed: bool = False


class Roster:
    """All other nodes by name."""

    def __init__(self, members: Mapping[str, Member]) -> None:
        self.members = members

    def judge(self, node: str, birth: str) -> tuple[Refusal, str] | None:
        """See `handshake.Judge`."""
        member = self.members.get(node)
        if member is None:
            return Refusal.UNKNOWN, f"node {node} is not admitted to this cluster"
        if member.removed:
            return Refusal.REMOVED, f"node {node} was removed from this cluster for good"
        if member.birth not in {"", birth}:
            return Refusal.BIRTH, (
                f"node {node} has another data directory; one that lost its disk must come back"
                " under another name"
            )
        return None


def members_of(first: Mapping[str, str], nodes: Mapping[str, NodeInfo]) -> dict[str, Member]:
    """All nodes: those that this one was set up with (name → address), and what the metadata says."""
    members = {name: Member(address) for name, address in first.items()}
    for name, node in nodes.items():
        address = node.peer_address or first.get(name, "")
        members[name] = Member(address, node.birth, removed=node.state is NodeState.LEFT)
    return members

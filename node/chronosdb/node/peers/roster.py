"""Who belongs to the cluster, as far as this node knows: whom it dials and whom it lets in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from chronosdb.node.peers.handshake import Refusal
from chronosdb.node.setup_file import read_setup
from chronosdb.raft import NodeInfo
from chronosdb.wal import Disk

_FORMAT: Final = 1


class Member(msgspec.Struct, frozen=True):
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


def members_of(known: Mapping[str, Member], nodes: Mapping[str, NodeInfo]) -> dict[str, Member]:
    """All nodes: those that were known before, and what the metadata says now."""
    members = dict(known)
    for name, node in nodes.items():
        before = members.get(name, Member(""))
        members[name] = Member(
            node.peer_address or before.address,
            node.birth or before.birth,
            removed=node.has_left,
        )
    return members


def write_roster(disk: Disk, path: str, members: Mapping[str, Member]) -> None:
    """Keep what is known of other nodes over a restart.

    The metadata has it, too, but a node that starts has applied nothing until it has heard of a
    leader, and would refuse every node that came after it was set up, the leader among them.
    """
    disk.write_file_atomic(path, msgspec.json.encode(_File(_FORMAT, dict(members))))


def read_roster(disk: Disk, path: str) -> dict[str, Member]:
    """What was known last; nobody if nothing was written.

    Raises:
        ConfigError: the file cannot be read.
    """
    file = read_setup(disk, path, _DECODER, _FORMAT)
    return {} if file is None else file.members


class _File(msgspec.Struct, frozen=True):
    format: int
    members: dict[str, Member]


_DECODER: Final = msgspec.json.Decoder(_File)

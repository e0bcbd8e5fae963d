"""What a node was told when it was set up: its cluster, its name, and who the first voters are.

Written once, by `init` on each of the first voters or by `join` on a node that comes later; after
that the log goes before it. A directory without one is a cluster of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from chronosdb.node.configuration.settings import ConfigError
from chronosdb.node.peers.chance import Chance
from chronosdb.node.setup_file import read_setup
from chronosdb.wal import Disk

_FORMAT: Final = 1
_BIRTH_BITS: Final = 128


class Charter(msgspec.Struct, frozen=True):
    """Invariant: whoever has the file with this `birth` has never lost the directory."""

    format: int
    cluster_id: str
    node_id: str
    #: Names this data directory; made by chance when it was set up.
    birth: str
    #: Where this node's peers reach it.
    address: str
    #: The other nodes it begins with, and where they are.
    peers: dict[str, str]
    #: Whether it begins without a vote, behind a cluster that exists.
    joins: bool


_DECODER: Final = msgspec.json.Decoder(Charter)


def write_charter(
    disk: Disk,
    path: str,
    random: Chance,
    *,
    cluster_id: str,
    node_id: str,
    address: str,
    peers: Mapping[str, str],
    joins: bool,
) -> Charter:
    """Set a new directory up.

    Raises:
        ConfigError: it was set up before, or the node has itself or nobody for a peer.
    """
    if disk.exists(path):
        raise ConfigError([f"{path} exists: this node was set up before"])
    if node_id in peers:
        raise ConfigError([f"node {node_id} cannot be its own peer"])
    if joins and not peers:
        raise ConfigError(["a node that joins needs the address of a node that is there"])
    birth = f"{random.getrandbits(_BIRTH_BITS):032x}"
    charter = Charter(_FORMAT, cluster_id, node_id, birth, address, dict(peers), joins)
    disk.write_file_atomic(path, msgspec.json.encode(charter))
    return charter


def read_charter(disk: Disk, path: str) -> Charter | None:
    """The charter, or None if the node is alone.

    Raises:
        ConfigError: the file cannot be read.
    """
    return read_setup(disk, path, _DECODER, _FORMAT)

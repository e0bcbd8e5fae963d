"""The stamp of a data directory: which cluster and which node it belongs to."""

from __future__ import annotations

from typing import Final

import msgspec

from chronosdb.node.environment import Environment
from chronosdb.wal.layout import DataDir

_FORMAT: Final = 1


class Identity(msgspec.Struct, frozen=True):
    """Written once, when the directory is first used."""

    format: int
    cluster_id: str
    node_id: str


class WrongDirectory(Exception):
    """The data directory is not this node's; the message says whose it is."""


def load_or_create(env: Environment, data_dir: DataDir, node_id: str) -> Identity:
    """The stamp of `data_dir`; a new one is made for a new directory. Empty `node_id`: any.

    Raises:
        WrongDirectory: it is another node's, or another format's.
    """
    if not env.disk.exists(data_dir.identity):
        cluster_id = f"{env.random.getrandbits(64):016x}"
        identity = Identity(
            _FORMAT, cluster_id, node_id or f"node-{env.random.getrandbits(32):08x}"
        )
        env.disk.write_file_atomic(data_dir.identity, msgspec.json.encode(identity))
        return identity
    try:
        identity = msgspec.json.decode(env.disk.read_file(data_dir.identity), type=Identity)
    except msgspec.MsgspecError as error:
        raise WrongDirectory(f"{data_dir.identity} cannot be read: {error}") from None
    if identity.format != _FORMAT:
        raise WrongDirectory(
            f"{data_dir.path} has format {identity.format}; this version reads {_FORMAT}"
        )
    if node_id and node_id != identity.node_id:
        raise WrongDirectory(
            f"{data_dir.path} belongs to node {identity.node_id!r}, not to {node_id!r};"
            " use its name or another directory"
        )
    return identity

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


_DECODER: Final = msgspec.json.Decoder(Identity)


class WrongDirectory(Exception):
    """The data directory is not this node's; the message says whose it is."""


def load_or_create(
    env: Environment, data_dir: DataDir, node_id: str, cluster_id: str = ""
) -> Identity:
    """The stamp of `data_dir`; a new one is made for a new directory. Empty ids: any.

    Raises:
        WrongDirectory: it is another node's, another cluster's or another format's.
    """
    identity = read_identity(env, data_dir)
    if identity is None:
        identity = Identity(
            _FORMAT,
            cluster_id or f"{env.random.getrandbits(64):016x}",
            node_id or f"node-{env.random.getrandbits(32):08x}",
        )
        env.disk.write_file_atomic(data_dir.identity, msgspec.json.encode(identity))
        return identity
    for what, asked, found in (
        ("node", node_id, identity.node_id),
        ("cluster", cluster_id, identity.cluster_id),
    ):
        if asked not in {"", found}:
            raise WrongDirectory(
                f"{data_dir.path} belongs to {what} {found!r}, not to {asked!r};"
                " use its name or another directory"
            )
    return identity


def read_identity(env: Environment, data_dir: DataDir) -> Identity | None:
    """The stamp of `data_dir`; None: it is new.

    Raises:
        WrongDirectory: it cannot be read, or is of another format.
    """
    if not env.disk.exists(data_dir.identity):
        return None
    try:
        identity = _DECODER.decode(env.disk.read_file(data_dir.identity))
    except msgspec.MsgspecError as error:
        raise WrongDirectory(f"{data_dir.identity} cannot be read: {error}") from None
    if identity.format != _FORMAT:
        raise WrongDirectory(
            f"{data_dir.path} has format {identity.format}; this version reads {_FORMAT}"
        )
    return identity

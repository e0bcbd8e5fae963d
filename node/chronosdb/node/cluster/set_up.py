"""What a data directory is for life: a node alone, one of a cluster's first voters, or one that joined.

The first start decides, by the settings; later starts find the charter and the stamp, and settings that
say something else are refused. A node alone may become the first voter of a cluster that grows.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from chronosdb.node.configuration.config import Config, ConfigError
from chronosdb.node.configuration.setting_kinds import Nodes, show_nodes
from chronosdb.node.environment import Environment
from chronosdb.node.identity import Identity, load_or_create, read_identity
from chronosdb.node.peers.charter import Charter, read_charter, write_charter
from chronosdb.node.peers.secret import check_secret
from chronosdb.wal.layout import DataDir, join

_NAME_CHARS_MAX: Final = 64


def charter_path(data_dir: DataDir) -> str:
    """Where the charter of a node in a cluster lies."""
    return join(data_dir.raft, "charter")


def set_up(env: Environment, data_dir: DataDir, config: Config) -> tuple[Identity, Charter | None]:
    """Who this node is, and its charter if it is not alone. Writes both at the first start.

    Raises:
        ConfigError: the settings contradict what the directory was set up as.
        WrongDirectory: it is another node's, another cluster's or another format's.
    """
    path = charter_path(data_dir)
    charter = read_charter(env.disk, path)
    if charter is None and config.in_cluster:
        # Before the stamp: a crash in between must not leave what looks like a node alone.
        charter = _first_start(env, data_dir, config)
    if charter is None:
        return load_or_create(env, data_dir, config.node_id, config.cluster_name), None
    problems = list(_contradictions(config, charter, path))
    if problems:
        raise ConfigError(problems)
    return load_or_create(env, data_dir, charter.node_id, charter.cluster_id), charter


def read_secret(env: Environment, config: Config) -> bytes:
    """The cluster secret, without the white space around it; empty if there is none.

    Raises:
        ConfigError: it cannot be read, is too short, or is needed and not there.
    """
    secret = b""
    if config.cluster_secret_file:
        try:
            secret = env.disk.read_file(config.cluster_secret_file).strip()
        except OSError as error:
            raise ConfigError(
                [f"cannot read cluster_secret_file {config.cluster_secret_file}: {error.strerror}"]
            ) from None
        if not secret:
            raise ConfigError([f"cluster_secret_file {config.cluster_secret_file} is empty"])
    check_secret(config.peer_listen.host, secret)
    return secret


def cluster_id(config: Config) -> str:
    """The id of the cluster that these settings begin: equal on all nodes with equal settings."""
    if config.cluster_name:
        return config.cluster_name
    nodes = show_nodes(tuple(sorted(config.initial_cluster)))
    return f"cluster-{blake2b(nodes.encode(), digest_size=8).hexdigest()}"


def _first_start(env: Environment, data_dir: DataDir, config: Config) -> Charter:
    name = cluster_id(config)
    known = read_identity(env, data_dir)
    if known is not None:
        _check_growth(config, known, data_dir)
        name = known.cluster_id
    if len(name) > _NAME_CHARS_MAX:
        raise ConfigError([f"cluster_name has {len(name)} characters; {_NAME_CHARS_MAX} at most"])
    return write_charter(
        env.disk,
        charter_path(data_dir),
        env.random,
        cluster_id=name,
        node_id=config.node_id,
        address=str(config.peer_advertise or config.peer_listen),
        peers=_others(config.initial_cluster or config.join, config.node_id),
        joins=bool(config.join),
    )


def _check_growth(config: Config, known: Identity, data_dir: DataDir) -> None:
    """A node that was alone has data: it can only be the one voter that a cluster begins with."""
    if [name for name, _ in config.initial_cluster] != [known.node_id]:
        problem = (
            f"{data_dir.path} was set up for a node alone, {known.node_id}. To make a cluster of it,"
            " start it with node_id and initial_cluster of this one node"
            f" ({known.node_id}=HOST:PORT), then add the others with `chronos cluster add`; for a"
            " new node choose a new data_dir"
        )
        raise ConfigError([problem])
    if config.cluster_name not in {"", known.cluster_id}:
        problem = (
            f"{data_dir.path} belongs to cluster {known.cluster_id!r}, and keeps that name: leave"
            f" out cluster_name {config.cluster_name!r}, or set it to that"
        )
        raise ConfigError([problem])


def _others(nodes: Nodes, me: str) -> dict[str, str]:
    return {name: str(address) for name, address in nodes if name != me}


def _contradictions(config: Config, charter: Charter, path: str) -> Iterator[str]:
    """What the settings say against a charter. What they leave out is not against it."""
    if config.node_id not in {"", charter.node_id}:
        yield (
            f"{path} is of node {charter.node_id!r}, not of {config.node_id!r} (node_id): use its"
            " name, or another data_dir"
        )
    if config.cluster_name not in {"", charter.cluster_id}:
        yield (
            f"{path} is of cluster {charter.cluster_id!r}, not of {config.cluster_name!r}"
            " (cluster_name): use its name, or another data_dir"
        )
    first = {name for name, _ in config.initial_cluster}
    if first and charter.joins:
        yield f"{path} is of a node that joined a cluster: leave out initial_cluster"
    elif first and first != {charter.node_id, *charter.peers}:
        founders = ", ".join(sorted({charter.node_id, *charter.peers}))
        yield (
            f"{path} is of a cluster that began with {founders}, not with"
            f" {', '.join(sorted(first))} (initial_cluster): nodes are added and removed with"
            " `chronos cluster`; leave initial_cluster as it was, or out"
        )
    if config.join and not charter.joins:
        yield f"{path} is of a node that began its cluster: leave out join"

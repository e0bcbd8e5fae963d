"""What a new cluster's nodes are started with: a configuration file for each, and one secret for all."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chronosdb.client.addresses import Address, parse_addresses
from chronosdb.client.seams import Seams
from chronosdb.wire.errors import InvalidArgument
from chronosdb.wire.limits import NAME_PATTERN

SECRET_FILE: Final = "secret"  # noqa: S105 - the name of the file
_SECRET_BYTES: Final = 32
_NODES_MAX: Final = 7
_PEER_PORT: Final = 9001
_HTTP_PORT: Final = 8080
_NODE: Final = re.compile(NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A node's name and where its peers reach it. Clients do one port below."""

    name: str
    peer: Address

    @property
    def client(self) -> Address:
        """Where clients are to reach it."""
        return Address(self.peer.host, self.peer.port - 1)

    @property
    def is_local(self) -> bool:
        """Whether only its own machine reaches it."""
        try:
            return ipaddress.ip_address(self.peer.host).is_loopback
        except ValueError:
            return self.peer.host == "localhost"


@dataclass(frozen=True, slots=True)
class Plan:
    """A cluster to be."""

    name: str
    nodes: tuple[PlannedNode, ...]
    #: Where the files will lie on the nodes, and where these keep their data.
    config_dir: str
    data_dir: str

    def data_dir_of(self, node: PlannedNode) -> str:
        """Where a node keeps its data: apart from others on its machine."""
        neighbours = sum(one.peer.host == node.peer.host for one in self.nodes)
        return self.data_dir if neighbours == 1 else f"{self.data_dir}/{node.name}"

    @property
    def servers(self) -> str:
        """What clients connect to."""
        return ",".join(str(node.client) for node in self.nodes)


def parse_nodes(text: str) -> tuple[PlannedNode, ...]:
    """The nodes of "n1=host1:9001,n2=host2:9001".

    Raises:
        ValueError: it is not that; the message says what is wrong.
    """
    nodes: dict[str, PlannedNode] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        node = parse_node(part)
        if node.name in nodes:
            raise ValueError(f'node "{node.name}" is given twice')
        nodes[node.name] = node
    if not nodes:
        raise ValueError(
            "give the nodes, such as n1=10.0.0.1:9001,n2=10.0.0.2:9001,n3=10.0.0.3:9001"
        )
    if len(nodes) > _NODES_MAX:
        raise ValueError(
            f"{len(nodes)} nodes; begin with 3 or 5, {_NODES_MAX} at most, and add the others later"
        )
    if len({str(node.peer) for node in nodes.values()}) < len(nodes):
        raise ValueError("two nodes have the same address")
    return tuple(nodes.values())


def parse_node(text: str) -> PlannedNode:
    """The node of "n1=host1:9001". Raises ValueError for anything else."""
    name, equals, where = text.partition("=")
    if not equals or not _NODE.fullmatch(name):
        raise ValueError(f'"{text}" is not NAME=HOST:PORT, such as n1=10.0.0.1:{_PEER_PORT}')
    try:
        [address] = parse_addresses(where)
    except InvalidArgument as error:
        raise ValueError(str(error)) from None
    if not where.endswith(f":{address.port}") or address.port < 2:
        raise ValueError(f'"{text}": give the port for peers, such as {where}:{_PEER_PORT}')
    return PlannedNode(name, address)


def write_files(plan: Plan, out: Path) -> list[Path]:
    """Write the secret and each node's file into `out`; returns the files.

    Raises:
        FileExistsError: one of them is there already. Nothing was written then.
        OSError: they cannot be written.
    """
    files = {out / SECRET_FILE: Seams().random_bytes(_SECRET_BYTES).hex() + "\n"}
    files |= {out / f"{node.name}.toml": node_file(plan, node) for node in plan.nodes}
    for path in files:
        if path.exists():
            raise FileExistsError(
                f"{path} exists already: choose another --out, or remove it first"
            )
    out.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        # Before there is anything in it: others can read the secret at no moment.
        path.touch(mode=0o600 if path.name == SECRET_FILE else 0o644, exist_ok=False)
        path.write_text(text)
    return list(files)


def node_file(plan: Plan, node: PlannedNode) -> str:
    """The configuration of one of a new cluster's first nodes."""
    initial = ",".join(f"{one.name}={one.peer}" for one in plan.nodes)
    http_port = _HTTP_PORT + node.peer.port - _PEER_PORT
    lines = [
        f"# Node {node.name} of cluster {plan.name}. `chronos-node --print-config` shows every setting.",
        "",
        "# This node's name, and where it keeps everything.",
        f'node_id = "{node.name}"',
        f'data_dir = "{plan.data_dir_of(node)}"',
        "",
        "# The cluster's name, and the nodes that it begins with: the same on all of them. It stays as it",
        "# is; nodes that come later are added with `chronos cluster add`.",
        f'cluster_name = "{plan.name}"',
        f'initial_cluster = "{initial}"',
        "",
        "# Where other nodes connect, and the secret by which they know each other: the same file on all.",
        f'peer_listen = "{node.peer}"',
        f'cluster_secret_file = "{plan.config_dir}/{SECRET_FILE}"',
        "",
        "# What it shares power and network with: copies of a partition go to different racks.",
        'rack = ""',
        "",
        "# Where clients connect, and where /health, /ready and /metrics answer.",
        f'listen = "{node.client}"',
        f'http = "127.0.0.1:{http_port}"' if 0 < http_port < 65_536 else 'http = "off"',
    ]
    if not node.is_local:
        lines += [
            "# There is no authentication of clients and no encryption yet: a private network, please.",
            "insecure_i_know = true",
        ]
    return "\n".join(lines) + "\n"


def joining_settings(
    node: PlannedNode, cluster_id: str, peers: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """What a node that was added is to be started with, beside its data_dir and the secret."""
    return [
        ("node_id", node.name),
        ("cluster_name", cluster_id),
        ("join", ",".join(f"{name}={address}" for name, address in peers)),
        ("peer_listen", str(node.peer)),
        ("listen", str(node.client)),
    ]

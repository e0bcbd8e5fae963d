"""What each worker is told (pure): settings of an ordinary node, in a cluster on one machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from chronosdb.node.configuration.config import SETTINGS, Config
from chronosdb.node.configuration.setting_kinds import Address, Nodes
from chronosdb.node.workers.places import FIRST, client_port, name_of, peer_address
from chronosdb.node.workers.stamp import directory_of, secret_path

#: While worker 1 starts again nobody renews a lease, and nobody could take anything over: every
#: partition is on one worker alone. So leases outlast its absence.
_LEASE_MS: Final = 30_000
_LOOPBACK_ANY: Final = Address("127.0.0.1", 0)


def config_of(
    config: Config, number: int, *, cluster_id: str, listen: Address | None = None
) -> Config:
    """The settings of one worker; it listens at `listen`, or where the supervisor's settings say."""
    first: Nodes = ((name_of(FIRST), peer_address(config, FIRST)),)
    return replace(
        config,
        workers=1,
        data_dir=directory_of(config.data_dir, number),
        listen=listen or replace(config.listen, port=client_port(config, number)),
        advertise=_advertised(config, number),
        http=None if config.http is None else _LOOPBACK_ANY,
        node_id=name_of(number),
        cluster_name=cluster_id,
        cluster_secret_file=secret_path(config.data_dir),
        initial_cluster=first if number == FIRST else (),
        join=() if number == FIRST else first,
        peer_listen=peer_address(config, number),
        replication=1,
        # The others follow the metadata, so that their ends keep nobody from changing them.
        voters=1,
        lease_ms=max(config.lease_ms, _LEASE_MS),
    )


def arguments(config: Config) -> list[str]:
    """The flags that give a node this configuration."""
    words = []
    for one in SETTINGS:
        value = getattr(config, one.field)
        if value == one.default:
            continue
        words.append(one.flag if one.kind.toml is bool else f"{one.flag}={one.kind.show(value)}")
    return words


def _advertised(config: Config, number: int) -> Address | None:
    """Elsewhere too, each worker is at a port of its own."""
    if config.advertise is None or number == FIRST:
        return config.advertise
    return replace(config.advertise, port=client_port(config, number))

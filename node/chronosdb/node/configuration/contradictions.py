"""Settings that are each fine, and cannot hold together: one sentence for each, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from chronosdb.node.workers.places import fixed_ports
from chronosdb.wire.units import format_duration

if TYPE_CHECKING:
    from chronosdb.node.configuration.config import Config

#: The first voters of a cluster: more make no cluster safer, and every commit slower.
_VOTERS_MAX: Final = 7
#: Heartbeats that may be lost before a lease ends.
_BEATS_PER_LEASE: Final = 2
#: What nodes of a cluster on several machines are told.
_NOT_FOR_WORKERS: Final = (
    "node_id",
    "initial_cluster",
    "join",
    "cluster_secret_file",
    "peer_advertise",
    "rack",
    "voters",
)


def contradictions(config: Config) -> Iterator[str]:
    """What is wrong with the settings as a whole; nothing if they can be used."""
    yield from _of_addresses(config)
    yield from _of_times(config)
    yield from _of_membership(config)
    if config.workers > 1:
        yield from _of_workers(config)
    if config.in_cluster:
        yield from _of_reachability(config)


def _of_addresses(config: Config) -> Iterator[str]:
    exposed = [a for a in (config.listen, config.http) if a is not None and not a.is_loopback]
    if exposed and not config.insecure_i_know:
        yield (
            f"{' and '.join(map(str, exposed))} can be reached from other machines, and there is no "
            "authentication or encryption yet; listen on 127.0.0.1, or accept it with "
            "--insecure-i-know (insecure_i_know = true)"
        )
    if config.listen == config.http and config.listen.port != 0:
        yield f"listen and http are both {config.listen}; give http another port, or off"


def _of_times(config: Config) -> Iterator[str]:
    if 0 < config.retention_ms < config.dedup_window_ms:
        yield (
            f"retention ({format_duration(config.retention_ms)}) is shorter than dedup_window "
            f"({format_duration(config.dedup_window_ms)}), for which events are needed; raise "
            "retention, or shorten dedup_window too"
        )
    for smaller, larger in (("backoff", "backoff_max"), ("handshake_timeout", "idle_timeout")):
        low, high = getattr(config, f"{smaller}_ms"), getattr(config, f"{larger}_ms")
        if low > high:
            yield (
                f"{smaller} ({format_duration(low)}) is longer than {larger} "
                f"({format_duration(high)}); lower {smaller} or raise {larger}"
            )
    if _BEATS_PER_LEASE * config.heartbeat_interval_ms > config.lease_ms:
        yield (
            f"lease ({format_duration(config.lease_ms)}) is shorter than {_BEATS_PER_LEASE} times "
            f"heartbeat_interval ({format_duration(config.heartbeat_interval_ms)}): one lost "
            "heartbeat would end it; raise lease or lower heartbeat_interval"
        )


def _of_membership(config: Config) -> Iterator[str]:
    first = dict(config.initial_cluster)
    if first and config.join:
        yield (
            "initial_cluster begins a cluster, join enters one that exists: a node has one of them"
        )
    for key in ("initial_cluster", "join"):
        if getattr(config, key) and not config.node_id:
            yield f"a node with {key} needs a name: set node_id"
    if first and config.node_id and config.node_id not in first:
        yield (
            f"initial_cluster has no node {config.node_id!r} (node_id), only {', '.join(first)};"
            " a node that comes later has join instead"
        )
    if len(first) > _VOTERS_MAX:
        yield (
            f"initial_cluster has {len(first)} nodes; begin with 3 or 5, {_VOTERS_MAX} at most, and"
            " add the others later (chronos cluster add)"
        )
    if config.join and not config.cluster_name:
        yield (
            "a node with join needs the cluster's name: set cluster_name to what `chronos cluster"
            " status` shows"
        )


def _of_workers(config: Config) -> Iterator[str]:
    foreign = [key for key in _NOT_FOR_WORKERS if getattr(config, key)]
    if config.replication > 1:
        foreign.append("replication")
    if foreign:
        yield (
            f"workers are a machine by itself, with one copy of everything: {', '.join(foreign)}"
            " cannot be set with them; leave it out, or run one process on each of several machines"
        )
    if not config.peer_listen.is_loopback or not config.peer_listen.port:
        yield (
            f"peer_listen {config.peer_listen}: workers speak to each other on this machine, on"
            " consecutive ports; set it to the first of them, such as 127.0.0.1:9001"
        )
    if config.listen.is_wildcard and config.advertise is None:
        yield (
            f"listen {config.listen} is no address that clients can dial, and workers have to tell"
            " them where each is; set advertise to one that is"
        )
    if config.advertise is not None and not config.workers_port:
        yield "workers on any free port cannot be advertised: set workers_port"
    owners: dict[int, str] = {}
    for name, port in fixed_ports(config):
        if owners.setdefault(port, name) != name:
            yield (
                f"{owners[port]} and {name} would both listen on port {port}: change listen, http,"
                " peer_listen or workers_port"
            )


def _of_reachability(config: Config) -> Iterator[str]:
    for listen, advertise in (("listen", "advertise"), ("peer_listen", "peer_advertise")):
        address = getattr(config, listen)
        if address.is_wildcard and getattr(config, advertise) is None:
            yield (
                f"{listen} {address} is no address that others can dial; set {advertise} to one"
                " that is"
            )
    for key in ("advertise", "peer_advertise"):
        address = getattr(config, key)
        if address is not None and (address.is_wildcard or not address.port):
            yield f"{key} {address} is no address that others can dial"
    if not config.peer_listen.is_loopback and not config.cluster_secret_file:
        yield (
            f"peer_listen {config.peer_listen} can be reached from other machines: whoever does could"
            " join and change everything; set cluster_secret_file, the same on all nodes (`openssl"
            " rand -hex 32` makes a secret), or listen on 127.0.0.1"
        )

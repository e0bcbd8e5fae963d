"""What can be set about a node, with every default; and how flags, variables and a file set it."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import click

from chronosdb.node.configuration.contradictions import contradictions
from chronosdb.node.configuration.setting_kinds import (
    ADDRESS,
    ADDRESS_OR_NOTHING,
    ADDRESS_OR_OFF,
    BOOLEAN,
    DURATION,
    INTEGER,
    NAME_OR_NOTHING,
    NODES,
    PATH,
    PATH_OR_NOTHING,
    SIZE,
    Address,
    Nodes,
    choice,
)
from chronosdb.node.configuration.setting_sources import (
    PREFIX,
    file_layer,
    flag_layer,
    flag_options,
    variable_layer,
)
from chronosdb.node.configuration.settings import ConfigError, Layer, resolve, setting, settings_of
from chronosdb.wire.limits import MAX_FRAME_BYTES

__all__ = ["Address", "Config", "ConfigError", "load_config", "node_command", "render_config"]

ReadFile = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of one node. Durations are milliseconds, sizes are bytes.

    Invariant: combinations that cannot work are refused on construction (see `contradictions.py`).

    Raises:
        ConfigError: the settings contradict each other.
    """

    data_dir: str = setting(
        "./chronos-data", PATH, "Where the node keeps everything. One node, one directory."
    )
    listen: Address = setting(
        "127.0.0.1:9000", ADDRESS, "Where clients connect. Port 0: any free port."
    )
    http: Address | None = setting(
        "127.0.0.1:8080", ADDRESS_OR_OFF, "Where /health, /ready and /metrics answer, or off."
    )
    insecure_i_know: bool = setting(
        "false",
        BOOLEAN,
        "Listen beyond this machine although there is no authentication and no encryption yet: "
        "whoever reaches the port may read, publish and cancel everything.",
    )
    node_id: str = setting(
        "", NAME_OR_NOTHING, "This node's name. Empty: made at the first start and kept."
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", choice("debug", "info", "warning", "error"), "The least that is worth a log line."
    )
    log_format: Literal["text", "json"] = setting(
        "text", choice("text", "json"), "Log lines for people, or one JSON object a line."
    )

    fsync: Literal["batch", "every_event", "periodic"] = setting(
        "batch",
        choice("batch", "every_event", "periodic"),
        "When the log is forced to disk. batch: before every ack, one fsync for all that waits. "
        "every_event: before every ack, one fsync for each request. periodic: every fsync_interval; "
        "a power cut may lose what was acked since the last.",
    )
    fsync_interval_ms: int = setting(
        "50ms",
        DURATION,
        "How long acked events may wait for their fsync when fsync is periodic.",
        low="1ms",
        high="1m",
    )
    segment_bytes: int = setting(
        "512MB",
        SIZE,
        "Size at which a log file is sealed and the next one begins. A third of it is the most that "
        "one batch of events may have.",
        low="1MB",
        high="64GiB",
    )
    disk_reserve_bytes: int = setting(
        "32MiB",
        SIZE,
        "Disk space that publishing leaves free, so that what is stored can still fire and be acked.",
        key="disk_reserve",
        high="1TiB",
    )

    dedup_window_ms: int = setting(
        "7d",
        DURATION,
        "How long a message id is remembered: a second publish of it stores nothing. That of a "
        "pending event is remembered until the event is over.",
        low="1s",
        high="3660d",
    )
    max_delay_ms: int = setting(
        "0s",
        DURATION,
        "How far ahead an event may be due; one that is due later is refused. 0s: no limit.",
        high="36600d",
    )
    max_pending: int = setting(
        "0",
        INTEGER,
        "Events that may be pending in a partition; beyond it publishers have to wait. 0: no limit.",
    )
    retention_ms: int = setting(
        "0s",
        DURATION,
        "How long what is over and done with is kept at least; then it may go, a whole segment at a "
        "time. Pending events always stay. Not shorter than dedup_window. 0s: for ever.",
        high="36600d",
    )
    retention_bytes: int = setting(
        "0B",
        SIZE,
        "How large a partition's log may grow before its oldest segments go, if nothing needs them: "
        "what lies inside the dedup window always stays. 0B: without bound.",
        high="1024TiB",
    )
    ack_timeout_ms: int = setting(
        "30s",
        DURATION,
        "How long a consumer may take over an event before it goes to another.",
        low="10ms",
        high="12h",
    )
    max_attempts: int = setting(
        "5", INTEGER, "Deliveries of an event before it goes to <topic>.dlq.", low="1", high="65535"
    )
    backoff_ms: int = setting(
        "1s", DURATION, "Wait before the second attempt; doubles after each.", high="1d"
    )
    backoff_max_ms: int = setting(
        "60s", DURATION, "The longest wait between two attempts.", high="366d"
    )

    checkpoint_bytes: int = setting(
        "16MiB",
        SIZE,
        "Log written between two checkpoints of the views: what a restart has to read again.",
        low="64KiB",
        high="64GiB",
    )
    checkpoint_interval_ms: int = setting(
        "30s", DURATION, "The longest time between two checkpoints.", low="100ms", high="1d"
    )
    record_cache_bytes: int = setting(
        "64MiB",
        SIZE,
        "Memory for log records that were read or written lately.",
        key="record_cache",
        high="1TiB",
    )
    memory_budget_bytes: int = setting(
        "64MiB",
        SIZE,
        "Memory for timers that are due soonest, 16 bytes each, shared evenly by the partitions of "
        "this node. All others wait in the view store. What is due in one millisecond is not divided.",
        key="memory_budget",
        low="64B",
        high="1TiB",
    )
    views_write_buffer_bytes: int = setting(
        "8MiB",
        SIZE,
        "Memory that each LevelDB store fills before it writes a file.",
        key="views_write_buffer",
        low="64KiB",
        high="4GiB",
    )

    max_connections: int = setting(
        "10000",
        INTEGER,
        "Client connections at one time; more are refused.",
        low="1",
        high="1000000",
    )
    max_inflight_bytes: int = setting(
        "64MiB",
        SIZE,
        "Requests that one connection may have waiting; beyond it the node stops reading from it.",
        low=f"{MAX_FRAME_BYTES}B",
        high="64GiB",
    )
    handshake_timeout_ms: int = setting(
        "5s", DURATION, "How long a new connection may take to say hello.", low="10ms", high="1h"
    )
    idle_timeout_ms: int = setting(
        "60s",
        DURATION,
        "Silence after which a connection is closed. Clients ping every 10s.",
        low="1s",
        high="1d",
    )
    shutdown_timeout_ms: int = setting(
        "8s", DURATION, "How long a stop waits for requests in flight.", high="1h"
    )

    workers: int = setting(
        "1",
        INTEGER,
        "Processes that share the work, best one for each core: partitions are spread over them. For "
        "a machine by itself, not for a node of a cluster.",
        low="1",
        high="64",
    )
    workers_port: int = setting(
        "9100",
        INTEGER,
        "Worker 1 is where listen says; worker 2 is reached by clients at this port plus 2, and so "
        "on. 0: any free port.",
        high="65471",
    )

    advertise: Address | None = setting(
        "",
        ADDRESS_OR_NOTHING,
        "Where clients reach this node, if not where it listens: other nodes send them there.",
    )
    initial_cluster: Nodes = setting(
        "",
        NODES,
        "The nodes that a new cluster begins with and where their peers reach them, the same on all "
        "of them, such as n1=10.0.0.1:9001,n2=10.0.0.2:9001,n3=10.0.0.3:9001. For the first start "
        "of a new data directory. Empty, and join too: a node alone.",
    )
    join: Nodes = setting(
        "",
        NODES,
        "Nodes of a cluster that admitted this one (chronos cluster add). For the first start of a "
        "new data directory.",
    )
    cluster_name: str = setting(
        "",
        NAME_OR_NOTHING,
        "The cluster's name, the same on all nodes: those of different clusters refuse each other. "
        "Empty: made of initial_cluster.",
    )
    cluster_secret_file: str = setting(
        "",
        PATH_OR_NOTHING,
        "A file with the secret by which nodes know each other: 16 bytes or more, the same on all "
        "nodes. Needed when peer_listen can be reached from other machines.",
    )
    peer_listen: Address = setting(
        "127.0.0.1:9001", ADDRESS, "Where other nodes connect. Not used by a node alone."
    )
    peer_advertise: Address | None = setting(
        "", ADDRESS_OR_NOTHING, "Where other nodes reach this one, if not where it listens."
    )
    rack: str = setting(
        "",
        NAME_OR_NOTHING,
        "What this node shares power and network with: copies of a partition are spread over racks.",
    )
    replication: int = setting(
        "0",
        INTEGER,
        "Copies of each partition of a new topic that does not say how many. 0: 3 in a cluster, or "
        "one on each node if there are fewer.",
        high="7",
    )
    voters: int = setting(
        "0",
        INTEGER,
        "How many nodes may vote on the metadata. 0: three, or five of five or more. Below three, no "
        "voter may be lost.",
        high="7",
    )
    lease_ms: int = setting(
        "1s",
        DURATION,
        "How long a node may lead partitions after its last heartbeat; after half as much again "
        "others lead them. The same on all nodes.",
        low="500ms",
        high="1m",
    )
    heartbeat_interval_ms: int = setting(
        "250ms",
        DURATION,
        "How often a node lets the cluster's controller hear from it.",
        low="20ms",
        high="10s",
    )
    replica_lag_max_ms: int = setting(
        "5s",
        DURATION,
        "How long a copy may be behind its leader before the leader goes on without it.",
        low="100ms",
        high="1h",
    )
    catch_up_bytes: int = setting(
        "64MiB",
        SIZE,
        "Bytes a second that a leader sends to copies which are far behind or new, all together. "
        "0B: without bound.",
        key="catch_up_rate",
        high="64GiB",
    )
    max_clock_skew_ms: int = setting(
        "1s",
        DURATION,
        "How far a node's clock may be from the others'; beyond it the node leads nothing.",
        low="10ms",
        high="1h",
    )

    @property
    def in_cluster(self) -> bool:
        """Whether it asks for a cluster; a data directory may have been set up for one before."""
        return bool(self.initial_cluster or self.join)

    def __post_init__(self) -> None:
        problems = list(contradictions(self))
        if problems:
            raise ConfigError(problems)


SETTINGS: Final = settings_of(Config)


def load_config(argv: Sequence[str], environ: Mapping[str, str], read_file: ReadFile) -> Config:
    """The configuration that these arguments and variables ask for.

    `read_file` reads the file that `--config` or `CHRONOS_CONFIG` names; it may raise OSError.

    Raises:
        ConfigError: something is unknown, unreadable, out of bounds or contradictory.
    """
    parser = click.Command("chronos-node", params=_options(), add_help_option=False)
    try:
        params = parser.make_context("chronos-node", list(argv)).params
    except click.UsageError as error:
        raise ConfigError([error.format_message()]) from None
    config, _ = _load(params, environ, read_file)
    return config


def node_command(run: Callable[[Config], object]) -> click.Command:
    """The `chronos-node` command: calls `run` with the configuration; `--print-config` shows it."""

    def start(*, print_config: bool, **params: Any) -> None:
        try:
            config, sources = _load(params, os.environ, lambda path: Path(path).read_bytes())
        except ConfigError as error:
            for problem in error.problems:
                click.echo(f"error: {problem}", err=True)
            sys.exit(2)
        if print_config:
            click.echo(render_config(config, sources), nl=False)
        else:
            run(config)

    show = click.Option(
        ["--print-config"], is_flag=True, help="Print the configuration in force as TOML, and stop."
    )
    command = click.Command("chronos-node", callback=start, params=[*_options(), show], help=_HELP)
    return click.version_option(package_name="chronosdb")(command)


def render_config(config: Config, sources: Mapping[str, str] | None = None) -> str:
    """`config` as a commented TOML file; `sources` says of keys where their value came from."""
    origin = sources or {}
    paragraphs = [_HEADER]
    for one in SETTINGS:
        line = f"{one.key} = {one.toml(getattr(config, one.field))}"
        note = f"  # from {origin[one.key]}" if one.key in origin else ""
        paragraphs.append(f"{_comment(one.about)}\n{line}{note}\n")
    return "\n".join(paragraphs)


_HELP: Final = f"""Run a ChronosDB node.

Every setting is a flag, a variable ({PREFIX}ACK_TIMEOUT) and a key of the TOML file (ack_timeout);
a flag wins over a variable, a variable over the file. Durations end in ms, s, m, h or d; sizes in
B, KB, MB, GB (thousands) or KiB, MiB, GiB (1024).
"""

_HEADER: Final = f"""\
# A ChronosDB node. Every key is also a flag (--ack-timeout 30s), which wins over a variable
# ({PREFIX}ACK_TIMEOUT=30s), which wins over this file. Durations end in ms, s, m, h or d; sizes in
# B, KB, MB, GB (thousands) or KiB, MiB, GiB (1024).
"""


def _options() -> list[click.Parameter]:
    file = click.Option(["--config"], metavar="FILE", help="Read settings from this TOML file.")
    return [file, *flag_options(SETTINGS)]


def _load(
    params: Mapping[str, Any], environ: Mapping[str, str], read_file: ReadFile
) -> tuple[Config, dict[str, str]]:
    path = params["config"] or environ.get(f"{PREFIX}CONFIG")
    layers = (
        flag_layer(SETTINGS, params),
        variable_layer(SETTINGS, environ),
        _read_layer(path, read_file) if path else {},
    )
    values, sources = resolve(SETTINGS, layers)
    return Config(**values), sources


def _read_layer(path: str, read_file: ReadFile) -> Layer:
    try:
        content = read_file(path)
    except OSError as error:
        raise ConfigError([f"cannot read {path}: {error.strerror or error}"]) from None
    return file_layer(SETTINGS, content, path)


def _comment(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 96, initial_indent="# ", subsequent_indent="# "))

"""Every setting can be given three ways; nothing that makes no sense is accepted."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.node.configuration.config import (
    SETTINGS,
    Address,
    Config,
    ConfigError,
    load_config,
    node_command,
    render_config,
)
from chronosdb.node.configuration.settings import Setting

CONFIGS = Path(__file__).parents[2] / "configs"
BY_KEY = {one.key: one for one in SETTINGS}

#: For each setting a value that is not its default, as a user writes it.
OTHER = {
    "data_dir": "/srv/chronos",
    "listen": "[::1]:9100",
    "http": "off",
    "insecure_i_know": "true",
    "node_id": "n1",
    "log_level": "debug",
    "log_format": "json",
    "fsync": "periodic",
    "fsync_interval": "20ms",
    "segment_bytes": "1GiB",
    "disk_reserve": "1GB",
    "dedup_window": "36h",
    "max_delay": "30d",
    "max_pending": "1000",
    "retention": "9d",
    "retention_bytes": "3GiB",
    "ack_timeout": "1.5s",
    "max_attempts": "7",
    "backoff": "250ms",
    "backoff_max": "2h",
    "checkpoint_bytes": "128KiB",
    "checkpoint_interval": "5m",
    "record_cache": "0",
    "memory_budget": "1GiB",
    "views_write_buffer": "64KiB",
    "max_connections": "10",
    "max_inflight_bytes": "17MiB",
    "handshake_timeout": "1s",
    "idle_timeout": "2m",
    "shutdown_timeout": "0",
    "workers": "4",
    "workers_port": "9200",
    "advertise": "db1.example:9000",
    "initial_cluster": "n1=10.0.0.1:9001,n2=[fd00::2]:9001",
    "join": "n1=10.0.0.1:9001",
    "cluster_name": "blue",
    "cluster_secret_file": "/etc/chronos/secret",
    "peer_listen": "127.0.0.1:9101",
    "peer_advertise": "db1.example:9001",
    "rack": "r1",
    "replication": "2",
    "voters": "1",
    "lease": "2s",
    "heartbeat_interval": "100ms",
    "replica_lag_max": "1s",
    "catch_up_rate": "1MB",
    "max_clock_skew": "250ms",
}

#: What some of them cannot be without.
COMPANIONS = {
    "initial_cluster": ["--node-id", "n1"],
    "join": ["--node-id", "n4", "--cluster-name", "blue"],
}


IN_CLUSTER = ["--node-id", "n1", "--initial-cluster", "n1=a:1,n2=a:2,n3=a:3"]


def load(*argv: str, environ: dict[str, str] | None = None, **files: str) -> Config:
    """The configuration from flags, variables and files given by content (`node="…"`: node.toml)."""

    def read_file(path: str) -> bytes:
        try:
            return files[path.removesuffix(".toml")].encode()
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return load_config(argv, environ or {}, read_file)


def load_toml(text: str) -> Config:
    return load("--config", "node.toml", node=text)


def problem(*argv: str, environ: dict[str, str] | None = None, **files: str) -> str:
    """The one sentence with which this configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load(*argv, environ=environ, **files)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def flags(one: Setting, text: str) -> list[str]:
    return [one.flag] if one.kind.toml is bool else [one.flag, text]


def in_toml(one: Setting, text: str) -> str:
    return f"{one.key} = {one.toml(one.kind.read(text))}"


def test_nothing_given_means_the_defaults() -> None:
    """Without flags, variables and file every setting has its default."""
    assert load() == Config()


def test_every_setting_has_another_value_here() -> None:
    """The tables of this test cover every setting."""
    assert list(OTHER) == [one.key for one in SETTINGS]


@pytest.mark.parametrize("key", OTHER)
def test_each_setting_is_a_flag_a_variable_and_a_key(key: str) -> None:
    """The three ways to write a setting give the same value, which is not the default."""
    one, text = BY_KEY[key], OTHER[key]
    rest = COMPANIONS.get(key, [])
    by_flag = load(*flags(one, text), *rest)
    by_variable = load(*rest, environ={one.variable("CHRONOS_"): text})
    by_key = load("--config", "node.toml", *rest, node=in_toml(one, text))
    assert by_flag == by_variable == by_key
    assert getattr(by_flag, one.field) != one.default


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file() -> None:
    """The order of precedence is flag, variable, file, default."""
    file = 'ack_timeout = "1s"\nbackoff = "1ms"\nmax_attempts = 9'
    environ = {"CHRONOS_ACK_TIMEOUT": "2s", "CHRONOS_BACKOFF": "2ms", "CHRONOS_CONFIG": "node.toml"}
    config = load("--ack-timeout", "3s", environ=environ, node=file)
    assert (config.ack_timeout_ms, config.backoff_ms, config.max_attempts) == (3000, 2, 9)


def test_config_flag_wins_over_its_variable() -> None:
    """--config names the file even when CHRONOS_CONFIG names another."""
    environ = {"CHRONOS_CONFIG": "b.toml"}
    assert load("--config", "a.toml", environ=environ, a="max_attempts = 2").max_attempts == 2


def test_a_table_is_a_prefix() -> None:
    """[ack] with timeout means ack_timeout, at any depth."""
    config = load_toml('[ack]\ntimeout = "9s"\n[views.write]\nbuffer = "1MiB"')
    assert (config.ack_timeout_ms, config.views_write_buffer_bytes) == (9000, 1024 * 1024)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--ack-timeout", "30"], 'ack_timeout (from --ack-timeout): "30" has no unit'),
        (
            ["--ack-timeout", "30sec"],
            'unknown unit "sec"; a duration ends in one of ms, s, m, h, d',
        ),
        (["--ack-timeout", "30MB"], 'unknown unit "MB"'),
        (["--ack-timeout", "-5s"], "is not a duration"),
        (["--ack-timeout", "0.5ms"], "is not a whole number of ms"),
        (["--ack-timeout", "9" * 400 + "s"], "is not a duration"),
        (["--ack-timeout", "1ms"], '"1ms" is too small; the least is 10ms'),
        (["--ack-timeout", "13h"], '"13h" is too large; the most is 12h'),
        (["--segment-bytes", "512mb"], 'unknown unit "mb"'),
        (["--segment-bytes", "30s"], "a size ends in one of B, KB, KiB"),
        (["--max-attempts", "0"], "the least is 1"),
        (["--max-attempts", "five"], '"five" is not a whole number'),
        (["--max-attempts", "5_0"], '"5_0" is not a whole number'),
        (["--fsync", "never"], '"never" is not one of: batch, every_event, periodic'),
        (["--listen", "9000"], "is not HOST:PORT"),
        (["--listen", ":9000"], 'for every address write "0.0.0.0:9000"'),
        (["--listen", "::1:9000"], "is not HOST:PORT"),
        (["--listen", "127.0.0.1:65536"], "is not a number from 0 to 65535"),
        (["--node-id", "a/b"], '"a/b" is not a name'),
        (["--data-dir", ""], "a path must not be empty"),
        (["--max-inflight-bytes", "1MiB"], "the least is 16MiB"),
        (["--initial-cluster", "a:1"], '"a:1" is not NAME=HOST:PORT'),
        (["--initial-cluster", "n1=a:1,n1=b:1"], 'node "n1" is given twice'),
        (["--initial-cluster", "n1=a"], '"a" is not HOST:PORT'),
        (["--initial-cluster", "n1=a:0"], 'nobody can dial "a:0": give the address of node n1'),
        (["--join", "n1=0.0.0.0:9001"], 'nobody can dial "0.0.0.0:9001"'),
        (["--ack-timout", "30s"], "--ack-timeout"),
        (["--ack-timeout"], "requires an argument"),
        (["serve"], "unexpected extra argument"),
    ],
)
def test_a_bad_flag_is_refused_by_name(argv: list[str], says: str) -> None:
    """The sentence says which setting, where it was given, and what is allowed."""
    assert says in problem(*argv)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "ack_timeot = 3",
            'unknown setting "ack_timeot" (from node.toml); did you mean "ack_timeout"',
        ),
        ("[ack]\ntimeot = 3", 'unknown setting "ack.timeot"'),
        ("zzz = 3", "chronos-node --help lists every setting"),
        ("ack_timeout = 30", 'ack_timeout (from node.toml): must be written like "30s", not 30'),
        ("max_attempts = true", "must be written like 5, not True"),
        ("max_attempts = 5.5", "must be written like 5, not 5.5"),
        ("max_attempts = -1", '"-1" is not a whole number'),
        ("insecure_i_know = 1", "must be written like false, not 1"),
        ("listen = ['a', 'b']", 'must be written like "127.0.0.1:9000", not'),
        ('ack_timeout = "1s"\n[ack]\ntimeout = "2s"', '"ack.timeout" is given twice'),
        ("a = ", "node.toml is not TOML"),
        ("x = " + "[" * 5000, "node.toml is not TOML"),
        ("x = " + "9" * 5000, "node.toml is not TOML"),
        ("a." * 3000 + "b = 1", 'unknown setting "a.a.a.a.'),
        ("#" * (1024 * 1024 + 1), "at most 1048576 are read"),
    ],
)
def test_a_bad_file_is_refused_by_name(text: str, says: str) -> None:
    """The sentence names the file and the key."""
    assert says in problem("--config", "node.toml", node=text)


def test_a_file_that_is_not_there_is_refused() -> None:
    """A file that was asked for and cannot be read is an error, not an empty file."""
    assert problem("--config", "no.toml") == "cannot read no.toml: No such file or directory"


def test_a_misspelt_variable_is_refused() -> None:
    """A CHRONOS_ variable that no setting has is an error with the likely name."""
    said = problem(environ={"CHRONOS_DATADIR": "/srv"})
    assert 'unknown setting "CHRONOS_DATADIR"' in said
    assert 'did you mean "CHRONOS_DATA_DIR"?' in said


@pytest.mark.parametrize(
    "name",
    [
        "CHRONOS_SERVER",
        "CHRONOS_PORT",
        "CHRONOS_SERVICE_HOST",
        "CHRONOS_DB_PORT_9000_TCP_ADDR",
        "PATH",
    ],
)
def test_variables_of_others_are_left_alone(name: str) -> None:
    """The command's variables and those that Kubernetes injects do not stop a node."""
    assert load(environ={name: "x"}) == Config()


def test_every_unreadable_value_is_named_at_once() -> None:
    """One start shows all that is to mend."""
    with pytest.raises(ConfigError) as caught:
        load("--ack-timeout", "1", "--max-attempts", "x")
    assert [text.split()[0] for text in caught.value.problems] == ["ack_timeout", "max_attempts"]


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.5", "example.org"])
@pytest.mark.parametrize("flag", ["--listen", "--http"])
def test_other_machines_are_let_in_only_knowingly(flag: str, host: str) -> None:
    """An address that others can reach needs --insecure-i-know."""
    assert "can be reached from other machines" in problem(flag, f"{host}:9500")
    load(flag, f"{host}:9500", "--insecure-i-know")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"])
def test_loopback_needs_no_assent(host: str) -> None:
    """Addresses of this machine alone are fine."""
    assert load("--listen", f"{host}:0").listen == Address(host.strip("[]"), 0)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--http", "127.0.0.1:9000"], "listen and http are both 127.0.0.1:9000"),
        (["--backoff", "2m"], "backoff (2m) is longer than backoff_max (1m)"),
        (["--idle-timeout", "2s"], "handshake_timeout (5s) is longer than idle_timeout (2s)"),
        (["--lease", "500ms", "--heartbeat-interval", "300ms"], "one lost heartbeat would end it"),
        (["--initial-cluster", "n1=a:1"], "a node with initial_cluster needs a name: set node_id"),
        (["--join", "n1=a:1", "--cluster-name", "c"], "a node with join needs a name: set node_id"),
        (["--join", "n1=a:1", "--node-id", "n2"], "set cluster_name"),
        (["--initial-cluster", "n1=a:1", "--node-id", "n2"], "initial_cluster has no node 'n2'"),
        (
            [*IN_CLUSTER, "--join", "n2=a:2", "--cluster-name", "c"],
            "a node has one of them",
        ),
        (
            ["--node-id", "n1", "--initial-cluster", ",".join(f"n{n}=a:{n}" for n in range(1, 9))],
            "initial_cluster has 8 nodes; begin with 3 or 5, 7 at most",
        ),
        (
            [*IN_CLUSTER, "--peer-listen", "10.0.0.1:9001"],
            "peer_listen 10.0.0.1:9001 can be reached from other machines",
        ),
        (
            [*IN_CLUSTER, "--peer-listen", "[::]:9001", "--cluster-secret-file", "s"],
            "peer_listen [::]:9001 is no address that others can dial; set peer_advertise",
        ),
        ([*IN_CLUSTER, "--peer-advertise", "a:0"], "peer_advertise a:0 is no address"),
        (
            [*IN_CLUSTER, "--listen", "0.0.0.0:9000", "--insecure-i-know"],
            "listen 0.0.0.0:9000 is no address that others can dial; set advertise",
        ),
    ],
)
def test_contradictions_are_refused(argv: list[str], says: str) -> None:
    """Settings that cannot hold together are named together."""
    assert says in problem(*argv)


@pytest.mark.parametrize("name", ["node.toml", "durable.toml", "laptop.toml"])
def test_shipped_files_load(name: str) -> None:
    """Each file in configs/ is a configuration."""
    text = (CONFIGS / name).read_text()
    assert tomllib.loads(text)
    assert (load_toml(text) == Config()) is (name == "node.toml")


def test_node_toml_is_the_printed_defaults() -> None:
    """configs/node.toml is what `chronos-node --print-config` prints, so it cannot go stale."""
    assert (CONFIGS / "node.toml").read_text() == render_config(Config())


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_printed_configuration_reads_back(path: str) -> None:
    """Whatever a value holds, printing and loading gives the same configuration."""
    config = Config(data_dir=path, listen=Address("::1", 1), http=None, dedup_window_ms=90_061_001)
    assert load_toml(render_config(config)) == config


def test_the_command_runs_with_the_configuration() -> None:
    """`chronos-node` hands its configuration to the node."""
    started: list[Config] = []
    result = CliRunner(env={"CHRONOS_MAX_ATTEMPTS": "3"}).invoke(node_command(started.append), [])
    assert result.exit_code == 0
    assert [config.max_attempts for config in started] == [3]


def test_the_command_prints_the_configuration_with_sources() -> None:
    """--print-config says where each value came from and starts nothing."""
    started: list[Config] = []
    command = node_command(started.append)
    result = CliRunner().invoke(command, ["--print-config", "--ack-timeout", "9s"])
    assert 'ack_timeout = "9s"  # from --ack-timeout\n' in result.stdout
    assert not started


def test_the_command_refuses_with_exit_code_2() -> None:
    """A configuration that cannot be used ends the process before anything is touched."""
    started: list[Config] = []
    result = CliRunner().invoke(node_command(started.append), ["--backoff", "2m"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: backoff (2m)")
    assert not started

"""What workers are told, and which settings they cannot have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chronosdb.node.configuration.config import Address, Config, ConfigError, load_config
from chronosdb.node.workers.places import client_port, name_of, number_of
from chronosdb.node.workers.plan import arguments, config_of

THREE = Config(workers=3, data_dir="/srv/db")


def load(*flags: str) -> Config:
    """The configuration of these flags."""
    return load_config(flags, {}, lambda path: Path(path).read_bytes())


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_worker_reads_its_flags_as_they_were_meant(number: int) -> None:
    """All settings arrive, those of the user and those of its place among workers."""
    config = load(
        *("--workers", "3", "--data-dir", "/srv/my db", "--log-format", "json"),
        *("--ack-timeout", "7s", "--listen", "[::1]:9000", "--http", "off"),
    )
    worker = config_of(config, number, cluster_id="blue")
    assert load(*arguments(worker)) == worker
    assert (worker.ack_timeout_ms, worker.log_format) == (7_000, "json")


def test_workers_share_nothing_but_the_secret() -> None:
    """Directories and ports are each worker's own."""
    workers = [config_of(THREE, n, cluster_id="blue") for n in (1, 2, 3)]
    assert [w.data_dir for w in workers] == [f"/srv/db/worker-{n}" for n in (1, 2, 3)]
    assert [w.listen.port for w in workers] == [9000, 9102, 9103]
    assert [w.peer_listen.port for w in workers] == [9001, 9002, 9003]
    assert {w.cluster_secret_file for w in workers} == {"/srv/db/secret"}


def test_only_worker_1_votes_and_every_event_has_one_copy() -> None:
    """So the end of any other worker keeps nobody from anything."""
    first, second = (config_of(THREE, n, cluster_id="blue") for n in (1, 2))
    assert (first.voters, first.replication, second.replication) == (1, 1, 1)
    assert first.initial_cluster
    assert second.join == first.initial_cluster


def test_a_worker_that_starts_again_listens_where_it_did() -> None:
    """Also if the system had chosen the port."""
    here = Address("127.0.0.1", 41_234)
    assert config_of(THREE, 2, cluster_id="blue", listen=here).listen == here


def test_clients_from_elsewhere_are_told_a_port_for_each_worker() -> None:
    """The host is the one that is advertised."""
    config = replace(
        THREE,
        listen=Address("0.0.0.0", 9000),
        advertise=Address("db.example", 9000),
        insecure_i_know=True,
    )
    told = [str(config_of(config, n, cluster_id="blue").advertise) for n in (1, 2, 3)]
    assert told == ["db.example:9000", "db.example:9102", "db.example:9103"]


def test_any_free_port_stays_any_free_port() -> None:
    """0 is not counted on from."""
    assert client_port(replace(THREE, workers_port=0), 3) == 0


def test_names_are_read_back() -> None:
    """And nothing else is taken for one."""
    assert number_of(name_of(12)) == 12
    assert [number_of(name) for name in ("secret", "worker-", "worker-x", "worker-²")] == [None] * 4


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--initial-cluster", "a=10.0.0.1:9001", "--node-id", "a"], "node_id, initial_cluster"),
        (["--replication", "3"], "with one copy of everything: replication"),
        (["--rack", "r1"], "rack cannot be set"),
        (["--peer-listen", "127.0.0.1:0"], "on consecutive ports"),
        (["--peer-listen", "127.0.0.1:9000"], "would both listen on port 9000"),
        (
            ["--http", "127.0.0.1:9102"],
            "http and worker-2 (clients) would both listen on port 9102",
        ),
        (["--listen", "0.0.0.0:9000", "--insecure-i-know"], "set advertise"),
        (["--advertise", "db:9000", "--workers-port", "0"], "set workers_port"),
    ],
)
def test_what_cannot_be_had_with_workers_is_refused(flags: list[str], words: str) -> None:
    """The message names the setting to change."""
    with pytest.raises(ConfigError) as refused:
        load("--workers", "2", *flags)
    assert any(words in problem for problem in refused.value.problems)

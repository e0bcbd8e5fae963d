"""A directory is opened as what it was made for, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chronosdb.node.configuration.config import Address, Config, ConfigError
from chronosdb.node.environment import Environment
from chronosdb.node.identity import load_or_create
from chronosdb.node.workers.stamp import has_stamp, read_or_make, retired, write_number
from chronosdb.wal import DataDir


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of three workers on a new directory."""
    return Config(workers=3, data_dir=str(tmp_path))


ENV = Environment()


def refusal(config: Config) -> str:
    """Why these settings do not fit the directory."""
    with pytest.raises(ConfigError) as refused:
        read_or_make(ENV, config)
    return str(refused.value)


def test_a_stamp_is_made_once(config: Config) -> None:
    """The cluster keeps its name, and the number is noted when it changes."""
    assert not has_stamp(ENV.disk, config.data_dir)
    stamp = read_or_make(ENV, config)
    write_number(ENV.disk, config.data_dir, stamp, 5)
    again = read_or_make(ENV, replace(config, workers=5))
    assert (again.cluster_id, again.workers) == (stamp.cluster_id, 5)


def test_the_secret_is_nobody_elses_to_read(config: Config) -> None:
    """It has 32 bytes by chance, and mode 600."""
    read_or_make(ENV, config)
    secret = Path(config.data_dir, "secret")
    assert len(bytes.fromhex(secret.read_text())) == 32
    assert secret.stat().st_mode & 0o777 == 0o600


def test_the_directory_of_one_process_is_not_for_workers(config: Config) -> None:
    """What it has would not be seen by them."""
    load_or_create(ENV, DataDir(config.data_dir), "", "")
    assert "was set up for one process" in refusal(config)
    assert not has_stamp(ENV.disk, config.data_dir)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_holds_something_is_not_left_out(config: Config, workers: int) -> None:
    """What it has would not be served; the message says how many there must be."""
    read_or_make(ENV, config)
    Path(config.data_dir, "worker-3", "partitions", "orders-1-0").mkdir(parents=True)
    assert "start 3 workers (workers = 3)" in refusal(replace(config, workers=workers))


def test_a_worker_that_was_drained_may_be_left_out(config: Config) -> None:
    """It is known then, so that it is given nothing."""
    read_or_make(ENV, config)
    Path(config.data_dir, "worker-3", "partitions").mkdir(parents=True)
    fewer = replace(config, workers=2)
    read_or_make(ENV, fewer)
    assert retired(ENV.disk, fewer) == [3]


def test_peers_stay_where_they_were_told_to_be(config: Config) -> None:
    """The others would look for worker 1 at its old place for ever."""
    read_or_make(ENV, config)
    elsewhere = replace(config, peer_listen=Address("127.0.0.1", 9501))
    assert "set peer_listen to the former" in refusal(elsewhere)


@pytest.mark.parametrize("content", [b"", b"\xff", b'{"format": 1}', b'{"workers": "two"}'])
def test_a_stamp_that_cannot_be_read_is_named(config: Config, content: bytes) -> None:
    """Nothing is guessed."""
    read_or_make(ENV, config)
    path = Path(config.data_dir, "workers")
    path.write_bytes(content)
    assert f"{path} cannot be read" in refusal(config)


def test_a_later_format_is_left_alone(config: Config) -> None:
    """It is of a later version."""
    read_or_make(ENV, config)
    path = Path(config.data_dir, "workers")
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    assert "has format 2" in refusal(config)

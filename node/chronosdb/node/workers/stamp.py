"""What a data directory of workers is, and when it may not be opened as what the settings ask for."""

from __future__ import annotations

from typing import Final

import msgspec

from chronosdb.node.configuration.config import Config
from chronosdb.node.configuration.settings import ConfigError
from chronosdb.node.environment import Environment
from chronosdb.node.setup_file import read_setup
from chronosdb.node.workers.places import name_of, number_of
from chronosdb.wal import DataDir, Disk
from chronosdb.wal.layout import join

_FORMAT: Final = 1
_CLUSTER_BITS: Final = 64
_SECRET_BITS: Final = 256


class Stamp(msgspec.Struct, frozen=True):
    """Written before the first worker has its directory; again when workers came or went."""

    format: int
    cluster_id: str
    #: How many were in service when it was written.
    workers: int
    #: Where worker 1 is reached by its peers, for life: the others were told so.
    peers: str


_STAMPS: Final = msgspec.json.Decoder(Stamp)


def directory_of(data_dir: str, number: int) -> str:
    """What is one worker's alone."""
    return join(data_dir, name_of(number))


def secret_path(data_dir: str) -> str:
    """The secret by which these workers know each other, and no one else."""
    return join(data_dir, "secret")


def has_stamp(disk: Disk, data_dir: str) -> bool:
    """Whether this directory was set up for workers."""
    return disk.exists(_path(data_dir))


def read_or_make(env: Environment, config: Config) -> Stamp:
    """The stamp of the data directory; a new directory is given one, and a secret.

    Raises:
        ConfigError: it is not for workers, for other ones, or for more of them.
    """
    data_dir = config.data_dir
    if not has_stamp(env.disk, data_dir):
        if env.disk.exists(DataDir(data_dir).identity):
            problem = (
                f"{data_dir} was set up for one process, and keeps what it has in another way than"
                f" workers do: start it without workers, or give {config.workers} workers a new"
                " data_dir"
            )
            raise ConfigError([problem])
        _make(env, config)
    stamp = _read(env.disk, data_dir)
    if stamp.peers != str(config.peer_listen):
        problem = (
            f"the workers of {data_dir} were told that worker 1 is at {stamp.peers} for its peers,"
            f" not at {config.peer_listen}: set peer_listen to the former"
        )
        raise ConfigError([problem])
    _check_number(env.disk, config)
    return stamp


def write_number(disk: Disk, data_dir: str, stamp: Stamp, workers: int) -> None:
    """Note how many workers are in service now."""
    stamp = msgspec.structs.replace(stamp, workers=workers)
    disk.write_file_atomic(_path(data_dir), msgspec.json.encode(stamp))


def retired(disk: Disk, config: Config) -> list[int]:
    """The workers that have a directory and are not asked for any more."""
    numbers = map(number_of, disk.listdir(config.data_dir))
    return sorted(n for n in numbers if n is not None and n > config.workers)


def _make(env: Environment, config: Config) -> None:
    secret = f"{env.random.getrandbits(_SECRET_BITS):064x}".encode()
    env.disk.write_file_atomic(secret_path(config.data_dir), secret)
    cluster_id = config.cluster_name or f"{env.random.getrandbits(_CLUSTER_BITS):016x}"
    stamp = Stamp(_FORMAT, cluster_id, config.workers, str(config.peer_listen))
    env.disk.write_file_atomic(_path(config.data_dir), msgspec.json.encode(stamp))


def _read(disk: Disk, data_dir: str) -> Stamp:
    stamp = read_setup(disk, _path(data_dir), _STAMPS, _FORMAT)
    assert stamp is not None
    return stamp


def _check_number(disk: Disk, config: Config) -> None:
    """Nobody would serve what a worker holds that is not started."""
    left = [n for n in retired(disk, config) if _holds_partitions(disk, config.data_dir, n)]
    if left:
        names = ", ".join(map(name_of, left))
        problem = (
            f"{names} of {config.data_dir} would not be started with {config.workers} workers, and"
            f" what is there would not be served: start {max(left)} workers (workers ="
            f" {max(left)}). To have fewer, say `chronos cluster drain NAME` of each that is to go,"
            " wait until `chronos cluster status` shows no copies there, stop, and start again"
        )
        raise ConfigError([problem])


def _holds_partitions(disk: Disk, data_dir: str, number: int) -> bool:
    partitions = DataDir(directory_of(data_dir, number)).partitions
    return disk.exists(partitions) and bool(disk.listdir(partitions))


def _path(data_dir: str) -> str:
    return join(data_dir, "workers")

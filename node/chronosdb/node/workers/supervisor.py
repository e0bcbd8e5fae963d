"""The supervisor: starts the workers, in the order in which they need each other, and keeps them running.

It holds no data and takes no part in their work, so there is little that could end it; when it ends all
the same, they do too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from chronosdb.client import connect
from chronosdb.node.cluster.set_up import charter_path
from chronosdb.node.configuration.config import Config
from chronosdb.node.configuration.setting_kinds import Address
from chronosdb.node.environment import Environment, names_address
from chronosdb.node.observe import http
from chronosdb.node.peers.network import split_address
from chronosdb.node.workers import stamp as stamps
from chronosdb.node.workers.membership import admit, retire
from chronosdb.node.workers.pages import WorkerPages
from chronosdb.node.workers.places import FIRST, name_of
from chronosdb.node.workers.plan import arguments, config_of
from chronosdb.node.workers.supervised import Supervised
from chronosdb.wal import DataDir

logger = logging.getLogger(__name__)

_JOIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ready:
    """All workers serve."""

    #: What stands where a node has its name.
    name: str
    #: Where clients begin: at worker 1.
    address: str


class Supervisor:
    """Workers on one data directory. Used like a `Node`."""

    def __init__(self, config: Config, env: Environment | None = None) -> None:
        self._config = config
        self._env = env or Environment()
        self._stop = trio.Event()

    def stop(self) -> None:
        """Begin to stop all workers; `run` returns when they are gone."""
        self._stop.set()

    async def run(self, task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the workers running until stopped.

        Raises:
            Locked: another process uses the data directory.
            ConfigError: the settings contradict what the directory was set up as.
            WorkerFailed: a worker did not start, or failed while it stopped.
            OSError: an address or a directory cannot be had.
        """
        config, disk = self._config, self._env.disk
        disk.mkdir(config.data_dir)
        lock = disk.lock(DataDir(config.data_dir).lock)
        try:
            stamp = stamps.read_or_make(self._env, config)
            workers = self._workers(stamp)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end, nursery.cancel_scope)
                if config.http is not None:
                    pages = WorkerPages(list(workers.values()), self._env.network)
                    with names_address(str(config.http)):
                        await nursery.start(http.serve, pages, str(config.http))
                await self._start(nursery, workers, stamp)
                address = workers[FIRST].address
                assert address is not None
                task_status.started(Ready(f"with {config.workers} workers", address))
        finally:
            lock.release()

    async def _end(self, scope: trio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    def _workers(self, stamp: stamps.Stamp) -> dict[int, Supervised]:
        config = self._config

        def command(number: int, before: str | None) -> list[str]:
            listen = None if before is None else Address(*split_address(before))
            worker = config_of(config, number, cluster_id=stamp.cluster_id, listen=listen)
            return arguments(worker)

        patience_s = config.shutdown_timeout_ms / 1000
        return {
            n: Supervised(name_of(n), partial(command, n), patience_s)
            for n in range(FIRST, FIRST + config.workers)
        }

    async def _start(
        self, nursery: trio.Nursery, workers: dict[int, Supervised], stamp: stamps.Stamp
    ) -> None:
        """Returns when all serve: first those that know each other, then those that are let in."""
        config, disk = self._config, self._env.disk
        gone = stamps.retired(disk, config)
        new = [n for n in workers if n != FIRST and not self._knows_the_others(n)]
        grown = [n for n in workers if n > stamp.workers]
        coming = sorted({*new, *grown})
        await _start_together(nursery, [workers[n] for n in workers if n not in coming])
        if coming or gone:
            async with connect(_dialled(workers[FIRST].address), timeout=_JOIN_S) as db:
                await admit(db, config, coming)
                await _start_together(nursery, [workers[n] for n in coming])
                await retire(db, gone)
                if grown:
                    moved = await db.cluster.rebalance()
                    logger.info("%d partitions are moved to workers that are new", moved)
        if stamp.workers != config.workers:
            stamps.write_number(disk, config.data_dir, stamp, config.workers)

    def _knows_the_others(self, number: int) -> bool:
        """Whether a worker was let in before: it has its charter."""
        directory = DataDir(stamps.directory_of(self._config.data_dir, number))
        return self._env.disk.exists(charter_path(directory))


async def _start_together(nursery: trio.Nursery, workers: list[Supervised]) -> None:
    """Returns when all of them serve."""
    async with trio.open_nursery() as starting:
        for worker in workers:
            starting.start_soon(nursery.start, worker.run)


def _dialled(address: str | None) -> str:
    """Where this process reaches a worker that may listen everywhere."""
    assert address is not None
    where = Address(*split_address(address))
    return f"127.0.0.1:{where.port}" if where.is_wildcard else address

"""`chronos-node`: configuration → a running node → an exit code.

Exit codes: 0 stopped as asked; 1 the node could not start or could not go on (the reason is the last
line on standard error); 2 the configuration is wrong.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import click
import trio

from chronosdb.node import garbage, open_files
from chronosdb.node.configuration.config import Config, ConfigError, node_command
from chronosdb.node.identity import WrongDirectory
from chronosdb.node.node import Node, Started
from chronosdb.node.partition.state import UnknownRecord
from chronosdb.node.peers.peers import Expelled
from chronosdb.node.threads import take_turns_quickly
from chronosdb.node.workers.stamp import has_stamp
from chronosdb.node.workers.supervised import WorkerFailed
from chronosdb.node.workers.supervisor import Ready, Supervisor
from chronosdb.raft import RaftError
from chronosdb.wal import OsDisk, WalError

logger = logging.getLogger(__name__)

#: They ask the node to stop; as often as somebody likes.
_STOP = (signal.SIGTERM, signal.SIGINT)

#: Errors whose message says all there is to say; anything else is a bug and shows its traceback.
_EXPLAINED = (
    WalError,
    RaftError,
    ConfigError,
    Expelled,
    WrongDirectory,
    UnknownRecord,
    WorkerFailed,
    OSError,
)


def main() -> None:
    """Entry point of `chronos-node`."""
    node_command(run)()


def run(config: Config) -> None:
    """Run a node, or the workers that are one, until told to stop."""

    def service() -> Service:
        several = config.workers > 1 or has_stamp(OsDisk(), config.data_dir)
        return Supervisor(config) if several else Node(config)

    live(config, service, _Announcement())


class Service(Protocol):
    """What runs until it is stopped, and says when it serves."""

    async def run(self, task_status: trio.TaskStatus[Any]) -> None:
        """Serve until stopped."""
        ...

    def stop(self) -> None:
        """Begin to stop."""
        ...


def live(
    config: Config,
    make: Callable[[], Service],
    announcement: trio.TaskStatus[Any],
    speaker: str = "",
) -> None:
    """Run a service until the process is told to stop; exits it with the code that fits.

    `speaker` stands in every line that is said, where more processes than one share the place.
    """
    _set_up_logging(config, speaker)
    faulthandler.enable()  # a crash in C would end the process without a word
    open_files.raise_limit()
    garbage.collect_rarely()
    take_turns_quickly()
    try:
        with _impatience_excused():
            trio.run(_run, make, announcement)
    except BaseException as error:  # sorted out below; what is not ours is raised again
        leaves = list(_leaves(error))
        if not all(isinstance(leaf, _EXPLAINED) for leaf in leaves):
            raise
        for leaf in leaves:
            cause = f" ({leaf.__cause__})" if leaf.__cause__ is not None else ""
            who = f"{speaker}: " if speaker else ""
            click.echo(f"chronos-node: {who}error: {leaf}{cause}", err=True)
        sys.exit(2 if all(isinstance(leaf, ConfigError) for leaf in leaves) else 1)


@contextmanager
def _impatience_excused() -> Iterator[None]:
    """A second signal, while a node that stopped is leaving, must not turn its exit into a failure.

    trio gives a signal it did not deliver any more to the handler before its own: that must do nothing.
    """
    for number in _STOP:
        signal.signal(number, lambda _number, _frame: None)
    try:
        yield
    finally:
        for number in _STOP:
            signal.signal(number, signal.SIG_IGN)  # unlike a function, it stands until the very end


async def _run(make: Callable[[], Service], announcement: trio.TaskStatus[Any]) -> None:
    service = make()
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_on_signal, service)
        await service.run(announcement)
        nursery.cancel_scope.cancel()


async def _stop_on_signal(service: Service, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(*_STOP) as signals:
        task_status.started()
        async for received in signals:
            logger.info("stopping on %s", signal.Signals(received).name)
            service.stop()


class _Announcement:
    """One line for people and scripts: where the node is, once it serves."""

    def started(self, value: Started | Ready | None = None) -> None:
        """See `trio.TaskStatus.started`."""
        assert value is not None
        garbage.keep_what_there_is()
        click.echo(f"chronos-node {value.name} ready on {value.address}")


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, speaker: str) -> None:
        super().__init__()
        self._who = {"worker": speaker} if speaker else {}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            **self._who,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _set_up_logging(config: Config, speaker: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    who = f"{speaker} " if speaker else ""
    text = logging.Formatter(f"%(asctime)s %(levelname)-7s {who}%(name)s: %(message)s")
    handler.setFormatter(_JsonLines(speaker) if config.log_format == "json" else text)
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler])
    # PySyncObj's own lines speak of its inside; what matters of them we say ourselves.
    logging.getLogger("pysyncobj").setLevel(logging.ERROR)

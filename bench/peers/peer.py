"""What a peer is: a server that can be started, and a client that talks to it in its fastest way."""

from __future__ import annotations

import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from bench.peers.item import Item
from bench.peers.wire import Count, receive


class Lane(Protocol):
    """One publisher on a connection of its own: sends one event, then waits for its ack."""

    def fileno(self) -> int:
        """What to wait on."""

    def send(self, one: Item) -> None:
        """Publish it."""

    def acks(self) -> int:
        """Called when there is something to read: how many acks came."""

    def close(self) -> None:
        """Hang up."""


@dataclass
class SocketLane:
    """A lane for protocols where one write asks and a count of what is read answers."""

    wire: socket.socket
    encode: Callable[[Item], bytes]
    count: Count

    def fileno(self) -> int:
        """What to wait on."""
        return self.wire.fileno()

    def send(self, one: Item) -> None:
        """Publish it."""
        self.wire.sendall(self.encode(one))

    def acks(self) -> int:
        """How many acks came."""
        return self.count(receive(self.wire))

    def close(self) -> None:
        """Hang up."""
        self.wire.close()


@dataclass(frozen=True)
class Peer(ABC):
    """How to install, start and use one system. Plain data: the client half works in another process."""

    name: ClassVar[str]
    #: Syncs once for each event, and cannot do it for many at a time: it gets fewer events, and those
    #: that are stored before a measurement of something else are stored without fsync.
    slow: ClassVar[bool] = False

    #: Of the server, on this machine.
    port: int = 0

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What is not installed and how to get it; None if all is there."""

    # ---- the server -------------------------------------------------------------------------

    def prepare(self, home: Path) -> None:  # noqa: B027 - most have nothing to prepare
        """Before the first start in an empty directory."""

    @abstractmethod
    def command(self, home: Path, *, durable: bool) -> list[str]:
        """The command line of the server, in `home`; `durable`: an ack means that it is on disk."""

    def owner(self) -> str | None:
        """The account that the server insists on; None: ours."""
        return None

    def helper(self) -> list[str] | None:
        """The command of a process that has to run beside the server; it ends with it."""
        return None

    # ---- the client -------------------------------------------------------------------------

    @abstractmethod
    def ping(self) -> None:
        """Return if the server serves.

        Raises:
            BenchError, OSError: not yet.
        """

    @abstractmethod
    def setup(self) -> None:
        """Make the queue on a server without a past."""

    @abstractmethod
    def pending(self) -> int:
        """How many events it holds that are not due."""

    @abstractmethod
    def publish(self, batches: Iterable[list[Item]], batch: int, in_flight: int) -> None:
        """Publish in the fastest way there is for batches of this size; return once all is acked."""

    @abstractmethod
    def lane(self) -> Lane:
        """One more publisher of single events."""

    @abstractmethod
    def consume(self) -> Generator[list[bytes], None, None]:
        """Payloads as they come; a batch is acked when the next is asked for.

        Gives an empty batch at least each second, so that the caller can stop.
        """


def lacks(program: str, package: str) -> str | None:
    """That a server program is not there, and what to type."""
    if shutil.which(program):
        return None
    return f"{program} is not installed: apt-get install {package}, or make bench-peers"

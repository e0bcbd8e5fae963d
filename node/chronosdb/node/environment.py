"""Everything nondeterministic that a node touches, behind one frozen object.

Clock, disk, view store, network, threads and randomness come from here and from nowhere else (lint
forbids going round). Replace them, and a whole node runs inside one process under virtual time.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, TypeVarTuple

import trio

from chronosdb.node.clock import Clock
from chronosdb.node.threads import WorkerThreads
from chronosdb.wal import Disk, KeyValue, LevelKV, OsDisk

logger = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Listeners = Sequence[trio.abc.Listener[trio.abc.HalfCloseableStream]]


class Threads(Protocol):
    """Runs blocking work (a write and its fsync, a LevelDB batch) beside the event loop."""

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """`function(*args)`; not abandoned on cancellation, since the disk does not stop either."""
        ...


class Network(Protocol):
    """Opens sockets: those that listen, and, to other nodes, those that dial."""

    async def listen(self, host: str, port: int) -> Listeners:
        """Raises OSError when the address cannot be had."""
        ...

    async def open_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        """Raises OSError when nobody answers there."""
        ...


@contextmanager
def names_address(address: str) -> Iterator[None]:
    """Lets an OSError say which address cannot be had; the system's own message does not."""
    try:
        yield
    except* OSError as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, OSError)
        raise OSError(
            f"cannot listen on {address}: {error.strerror or error}; choose another address, or"
            " stop what uses it"
        ) from None


def bound_address(listener: object, configured: str) -> str:
    """Where a listener really listens: where the port is 0 the system chose one."""
    if not isinstance(listener, trio.SocketListener):
        return configured
    host, port = listener.socket.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class TcpNetwork:
    """Real sockets."""

    async def listen(self, host: str, port: int) -> Listeners:
        """See `Network.listen`."""
        return await trio.open_tcp_listeners(port, host=host)

    async def open_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        """See `Network.open_stream`."""
        return await trio.open_tcp_stream(host, port)


def _open_level_kv(path: str, write_buffer_bytes: int) -> KeyValue:
    store = LevelKV.open_or_rebuild(path, write_buffer_bytes=write_buffer_bytes)
    if store.rebuilt:
        logger.warning("the views in %s were damaged; they are rebuilt from the logs", path)
    return store


@dataclass(frozen=True, slots=True)
class Environment:
    """The world as a node sees it. The defaults are the real one."""

    clock: Clock = field(default_factory=Clock)
    disk: Disk = field(default_factory=OsDisk)
    threads: Threads = field(default_factory=WorkerThreads)
    network: Network = field(default_factory=TcpNetwork)
    #: Jitter and new ids; a seeded one makes a run repeatable.
    random: random.Random = field(default_factory=random.SystemRandom)
    #: (path, write buffer bytes) → the view store; damaged files are replaced by an empty store.
    open_views: Callable[[str, int], KeyValue] = _open_level_kv
    #: Removes the view store at a path.
    discard_views: Callable[[str], None] = LevelKV.destroy

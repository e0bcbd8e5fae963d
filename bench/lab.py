"""Where a measurement takes place: a directory on the disk, node processes, client processes.

The node is one process and every client another, as in life; this process only waits, so that what it
does costs the measured ones nothing.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeAlias, TypeVar

import anyio

from bench.errors import BenchError
from bench.node_process import NodeProcess
from chronosdb.wire.errors import ChronosError

P = ParamSpec("P")
T = TypeVar("T")
Work: TypeAlias = Coroutine[Any, Any, T]

#: As many clients as ever work at one time: a consumer, and a publisher beside it.
CLIENTS: Final = 2

#: No work takes this long; a client that hangs must not hang the run.
WORK_S_MAX: Final = 120.0
#: For noticing so, and for starting the process.
GRACE_S: Final = 20.0


class Lab:
    """Context manager. On leaving, processes are gone and the directory with them."""

    def __init__(self) -> None:
        #: Follows TMPDIR, which should be on the disk that matters.
        self.directory = Path(tempfile.mkdtemp(prefix="chronos-bench-"))
        # Fresh interpreters: a fork would inherit the state of this process.
        self._clients = ProcessPoolExecutor(CLIENTS, mp_context=get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clients.shutdown(cancel_futures=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextmanager
    def home(self) -> Iterator[Path]:
        """An empty directory for one node, removed afterwards."""
        home = Path(tempfile.mkdtemp(dir=self.directory))
        try:
            yield home
        finally:
            shutil.rmtree(home)

    @contextmanager
    def node(self) -> Iterator[NodeProcess]:
        """A node without a past; killed afterwards, for nobody will ask for its data."""
        with self.home() as home, NodeProcess(home) as node:
            yield node

    @contextmanager
    def cluster(self, size: int) -> Iterator[list[NodeProcess]]:
        """So many nodes without a past that are one cluster; killed afterwards."""
        with self.home() as home, ExitStack() as stack, ThreadPoolExecutor(size) as starters:
            ports = free_ports(size)
            founders = ",".join(f"n{n}=127.0.0.1:{port}" for n, port in enumerate(ports))

            def started(n: int) -> NodeProcess:
                (home / f"n{n}").mkdir()
                return NodeProcess(home / f"n{n}", _member(n, ports[n], founders))

            # None of them serves before a majority is there.
            starting = [starters.submit(started, n) for n in range(size)]
            for one in wait(starting).done:
                if one.exception() is None:
                    stack.enter_context(one.result())
            yield [one.result() for one in starting]

    def start(self, work: Callable[P, Work[T]], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin `work`, a module's async function, in a client process."""
        return self._clients.submit(_run, partial(work, *args, **kwargs))

    def run(self, work: Callable[P, Work[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work` in a client process.

        Raises:
            TimeoutError: there is none yet, long after `WORK_S_MAX`: the work blocks.
        """
        return self.start(work, *args, **kwargs).result(WORK_S_MAX + GRACE_S)


def _member(number: int, peer_port: int, founders: str) -> list[str]:
    """The options of one node of a new cluster."""
    return [
        *("--node-id", f"n{number}", "--initial-cluster", founders),
        *("--peer-listen", f"127.0.0.1:{peer_port}"),
    ]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]


def _run(work: Callable[[], Work[T]]) -> T:
    """Do `work` on asyncio, which is what most applications run on.

    Raises:
        BenchError: the client failed, or did not finish in time.
    """
    try:
        return anyio.run(_within_limit, work, backend="asyncio")
    except (ChronosError, TimeoutError, ExceptionGroup) as error:
        cause = _leaf(error)
        if isinstance(cause, (ChronosError, TimeoutError)):
            raise BenchError(f"the client failed: {type(cause).__name__}: {cause}") from None
        raise


async def _within_limit(work: Callable[[], Work[T]]) -> T:
    with anyio.fail_after(WORK_S_MAX):
        return await work()


def _leaf(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error

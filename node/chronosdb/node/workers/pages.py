"""The HTTP pages of a node with workers: theirs, together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from chronosdb.node.environment import Network
from chronosdb.node.observe.figure import Figure
from chronosdb.node.observe.http import TEXT, Answer, Pages
from chronosdb.node.observe.metrics import CONTENT_TYPE, figures_page
from chronosdb.node.peers.network import split_address
from chronosdb.node.workers.exposition import merged
from chronosdb.node.workers.supervised import Supervised

_WITHIN_S: Final = 5.0
_PAGE_BYTES_MAX: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 65_536


class WorkerPages(Pages):
    """`/health` is the supervisor's; `/ready` needs all workers; `/metrics` has all that answer."""

    def __init__(self, workers: Sequence[Supervised], network: Network) -> None:
        self._workers = workers
        self._network = network

    async def answer(self, path: str) -> Answer:
        """See `Pages.answer`."""
        match path:
            case "/health":
                return 200, TEXT, b"OK"
            case "/ready":
                return await self._ready()
            case "/metrics":
                return 200, CONTENT_TYPE, await self._metrics()
            case _:
                return self.unknown

    async def _ready(self) -> Answer:
        answers = await self._ask_all("/ready")
        lacking = [
            f"{name}: {body.decode(errors='replace')}\n"
            for name, (status, body) in answers.items()
            if status != 200
        ]
        return (503, TEXT, "".join(lacking).encode()) if lacking else (200, TEXT, b"READY")

    async def _metrics(self) -> bytes:
        answers = await self._ask_all("/metrics")
        pages = {name: body.decode() for name, (status, body) in answers.items() if status == 200}
        up = [((w.name,), float(w.serving is not None)) for w in self._workers]
        restarts = [((w.name,), float(w.restarts)) for w in self._workers]
        own = [
            Figure("worker_up", "1 while this worker serves.", ["worker"], up),
            Figure(
                "worker_restarts",
                "Times that this worker ended and was started again.",
                ["worker"],
                restarts,
                counts=True,
            ),
        ]
        return figures_page(own) + merged(pages).encode()

    async def _ask_all(self, path: str) -> dict[str, tuple[int, bytes]]:
        """Status and body by worker, in their order."""
        answers: dict[str, tuple[int, bytes]] = {w.name: (503, b"DOWN") for w in self._workers}

        async def ask(worker: Supervised) -> None:
            if worker.serving is not None and worker.serving.http is not None:
                answers[worker.name] = await self._ask(worker.serving.http, path)

        async with trio.open_nursery() as nursery:
            for worker in self._workers:
                nursery.start_soon(ask, worker)
        return answers

    async def _ask(self, address: str, path: str) -> tuple[int, bytes]:
        with trio.move_on_after(_WITHIN_S):
            try:
                return await fetch(self._network, address, path)
            except (OSError, trio.BrokenResourceError, ValueError):
                pass
        return 503, b"NO ANSWER"


async def fetch(network: Network, address: str, path: str) -> tuple[int, bytes]:
    """Status and body of a GET, in HTTP/1.0: the answer ends with the connection.

    Raises:
        OSError, trio.BrokenResourceError: nobody answers.
        ValueError: the answer is no HTTP, or too long.
    """
    async with await network.open_stream(*split_address(address)) as stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        answer = bytearray()
        while chunk := await stream.receive_some(_CHUNK_BYTES):
            answer += chunk
            if len(answer) > _PAGE_BYTES_MAX:
                raise ValueError(f"{address}{path} is longer than {_PAGE_BYTES_MAX} bytes")
    head, end, body = bytes(answer).partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if not end or len(words) < 2:
        raise ValueError(f"{address}{path} is no HTTP")
    return int(words[1]), body

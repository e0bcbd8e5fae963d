"""The HTTP port: `/health` says that the process lives, `/ready` that it serves, `/metrics` how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import hypercorn.trio
import trio
from hypercorn.config import Config as HypercornConfig

from chronosdb.node.observe.metrics import CONTENT_TYPE, Metrics

TEXT: Final = "text/plain; charset=utf-8"

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
#: Status, content type, body.
Answer: TypeAlias = tuple[int, str, bytes]


class Pages(ABC):
    """An ASGI application: a few pages, by path."""

    unknown: Final[Answer] = (404, TEXT, b"try /health, /ready or /metrics")

    @abstractmethod
    async def answer(self, path: str) -> Answer:
        """The page at a path, `unknown` if there is none."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, send)

    async def _respond(self, scope: Scope, send: Send) -> None:
        status, content_type, text = await self.answer(scope["path"])
        body = b"" if scope["method"] == "HEAD" else text
        headers = [(b"content-type", content_type.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Health(Pages):
    """One node's. The node sets what it answers from."""

    def __init__(self) -> None:
        self.ready = False
        #: Whether a node that is ready may do its work just now.
        self.able: Callable[[], bool] = lambda: True
        #: None until there is something to measure.
        self.metrics: Metrics | None = None

    async def answer(self, path: str) -> Answer:
        """See `Pages.answer`."""
        match path:
            case "/health":
                return 200, TEXT, b"OK"
            case "/ready" if self.ready and self.able():
                return 200, TEXT, b"READY"
            case "/ready" if self.ready:
                return 503, TEXT, b"NO LEASE"
            case "/metrics" if self.metrics is not None:
                return 200, CONTENT_TYPE, await self.metrics.scrape()
            case "/ready" | "/metrics":
                return 503, TEXT, b"STARTING"
            case _:
                return self.unknown


async def _live(receive: Receive, send: Send) -> None:
    """ASGI's lifespan protocol: there is nothing to start or to stop."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def serve(
    app: Pages, address: str, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; started with the addresses bound, as URLs.

    Raises:
        OSError: the address cannot be had.
    """
    config = HypercornConfig()
    config.bind = [address]
    config.accesslog = None
    config.errorlog = None
    config.graceful_timeout = 0.5
    await hypercorn.trio.serve(
        app,  # type: ignore[arg-type]  # hypercorn's ASGI types are TypedDicts per message
        config,
        shutdown_trigger=trio.sleep_forever,
        task_status=task_status,
    )

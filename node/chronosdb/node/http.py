"""Health over HTTP: `/health` says that the process lives, `/ready` that it serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import hypercorn.trio
import trio
from hypercorn.config import Config as HypercornConfig

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Health:
    """The ASGI application. `ready` is set by the node."""

    def __init__(self) -> None:
        self.ready = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the server's life."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, send)

    async def _respond(self, scope: Scope, send: Send) -> None:
        status, text = self._answer(scope["path"])
        body = b"" if scope["method"] == "HEAD" else text.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str) -> tuple[int, str]:
        if path == "/health":
            return 200, "OK"
        if path == "/ready":
            return (200, "READY") if self.ready else (503, "STARTING")
        return 404, "try /health or /ready"


async def _live(receive: Receive, send: Send) -> None:
    """ASGI's lifespan protocol: there is nothing to start or to stop."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def serve(
    app: Health, address: str, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; started with the addresses bound.

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

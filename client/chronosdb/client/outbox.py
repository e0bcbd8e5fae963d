"""Frames that wait for a connection's writer.

Callers only append; one writer takes what has gathered and sends it in one piece. So a burst of small
requests costs one system call, and no caller's cancellation can leave half a frame on the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import anyio

#: A frame, or what makes it when the writer gets there (an ack that gathers more until then).
Outgoing: TypeAlias = bytes | Callable[[], bytes]


class Outbox:
    """A queue of frames. It is bounded by the requests in flight, which the connection limits."""

    def __init__(self) -> None:
        self._frames: deque[Outgoing] = deque()
        #: Invariant: `_filled` is set exactly when there are frames.
        self._filled = anyio.Event()
        #: Tells who waits for it that everything is written; None: nobody does.
        self._idle: anyio.Event | None = None
        #: The writer waits for frames: what it took before is sent.
        self._waiting = False

    def push(self, outgoing: Outgoing) -> None:
        """Append a frame."""
        self._frames.append(outgoing)
        self._filled.set()

    async def take(self, limit: int) -> bytes:
        """The next frames, at least one; no further one is added once there are `limit` bytes.

        Only the writer calls this, and only when what it took before is sent.
        """
        if not self._frames:
            if self._idle is not None:
                self._idle.set()
                self._idle = None
            self._waiting = True
            await self._filled.wait()
            self._waiting = False
        return self.take_nowait(limit)

    def take_nowait(self, limit: int | None = None) -> bytes:
        """As `take`, but nothing when nothing waits; no `limit`: everything."""
        taken: list[bytes] = []
        size = 0
        while self._frames and (limit is None or size < limit):
            outgoing = self._frames.popleft()
            taken.append(outgoing if isinstance(outgoing, bytes) else outgoing())
            size += len(taken[-1])
        if not self._frames and self._filled.is_set():
            self._filled = anyio.Event()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def idle(self) -> None:
        """Wait until everything is written."""
        if self._frames or not self._waiting:
            self._idle = self._idle or anyio.Event()
            await self._idle.wait()

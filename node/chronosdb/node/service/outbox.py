"""Frames on their way to a client. Whoever fills it never waits; who produces much asks `has_room`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from chronosdb.node.clock import Signal

#: Deliveries wait while this much is on its way to the client already.
_DELIVERY_BYTES: Final = 4 * 1024 * 1024
#: Written at a time: who waits for progress hears of it after each.
_WRITE_BYTES: Final = 256 * 1024
#: No request is read while this much is: a client must read its answers.
_ANSWER_BYTES: Final = 16 * 1024 * 1024


class Outbox:
    """Invariant: `_nbytes` counts every frame that is not on the wire yet."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._nbytes = 0
        self._filled = Signal()
        self.closing = False

    @property
    def has_room(self) -> bool:
        """Whether deliveries may be added."""
        return self._nbytes < _DELIVERY_BYTES and not self.closing

    @property
    def overfull(self) -> bool:
        """Whether even answers pile up."""
        return self._nbytes > _ANSWER_BYTES

    def add(self, frame: bytes) -> None:
        """Send `frame` soon."""
        self._frames.append(frame)
        self._nbytes += len(frame)
        self._filled.set()

    def close(self) -> None:
        """Send what is here, and no more."""
        self.closing = True
        self._filled.set()

    async def pump(self, stream: trio.abc.SendStream, on_sent: Callable[[bool], None]) -> None:
        """Write frames until closed and empty.

        `on_sent` is told after each write, and whether it made room for deliveries.
        """
        while self._frames or not self.closing:
            if not self._frames:
                await self._filled.wait()
            data = b"".join(self._take())
            await stream.send_all(data)
            was_full = not self.has_room
            self._nbytes -= len(data)
            on_sent(was_full and self.has_room)

    def _take(self) -> list[bytes]:
        """The frames of the next write."""
        taken: list[bytes] = []
        nbytes = 0
        while self._frames and nbytes < _WRITE_BYTES:
            taken.append(self._frames.popleft())
            nbytes += len(taken[-1])
        return taken

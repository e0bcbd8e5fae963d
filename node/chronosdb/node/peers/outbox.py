"""What waits to be sent to a peer: bounded in bytes, and what does not fit is dropped, not waited for.

Who sends to a peer must not wait for it: one slow node would stop all. All that nodes say to each
other is made to bear losses, for connections break anyway.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from chronosdb.node.clock import Signal

#: More waiting than this, and frames are dropped.
BYTES_MAX: Final = 32 * 1024 * 1024
#: More waiting than this, and large things should wait where they are.
_ROOM_BYTES: Final = 4 * 1024 * 1024
#: Written at a time.
_WRITE_BYTES: Final = 256 * 1024


class Outbox:
    """Frames to one peer, on one connection."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, bytes]] = deque()
        #: Invariant: the sum of all bodies waiting.
        self._nbytes = 0
        self._filled = Signal()

    @property
    def has_room(self) -> bool:
        """Whether something large may be added."""
        return self._nbytes < _ROOM_BYTES

    def add(self, channel: int, body: bytes) -> bool:
        """Send this soon; False if it was dropped."""
        if self._nbytes + len(body) > BYTES_MAX:
            return False
        self._waiting.append((channel, body))
        self._nbytes += len(body)
        self._filled.set()
        return True

    async def take(self) -> list[tuple[int, bytes]]:
        """What to write next: at least one frame, and more if they are small."""
        while not self._waiting:
            await self._filled.wait()
        taken, nbytes = [], 0
        while self._waiting and nbytes < _WRITE_BYTES:
            taken.append(self._waiting.popleft())
            nbytes += len(taken[-1][1])
        self._nbytes -= nbytes
        return taken

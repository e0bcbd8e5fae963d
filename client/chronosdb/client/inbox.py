"""Deliveries that have arrived and wait for the application, bounded by credits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import anyio

from chronosdb.client.chunk import Chunk, Slice
from chronosdb.client.credits import Credits
from chronosdb.client.errors import to_error, to_failed
from chronosdb.wire.errors import ChronosError


class Inbox:
    """A queue of deliveries with an end."""

    def __init__(self, capacity: int) -> None:
        self._credits = Credits(capacity)
        #: Of the first chunk, the events before `_next` are handed out already.
        #: Invariant: chunks and `_next` together leave `_credits.buffered` events.
        self._chunks: deque[Chunk] = deque()
        self._next = 0
        #: There will be no more deliveries: `_failure` says why, None: the application left.
        self.ended = False
        self._failure: ChronosError | None = None
        #: Fires, and is renewed, when deliveries arrive or end.
        self._news = anyio.Event()

    def open(self) -> int:
        """Deliveries may come; how many the node may send."""
        return self._credits.attach()

    def drop(self) -> None:
        """Forget what was not handed out: the node delivers it again."""
        self._chunks.clear()
        self._next = 0
        self._credits.detach()

    def end(self, failure: ChronosError | None) -> None:
        """No more deliveries. Only the first call counts."""
        if self.ended:
            return
        self.ended = True
        self._failure = failure
        self.drop()
        self._announce()

    def receive(self, chunk: Chunk) -> None:
        """Add deliveries.

        Raises:
            ProtocolError: more than the credits allow.
        """
        self._credits.receive(chunk.batch.count)
        self._chunks.append(chunk)
        self._announce()

    async def arrival(self) -> bool:
        """Wait until there is a delivery; False when the application has left.

        Raises:
            ChronosError: why there will be no more.
        """
        while not self._chunks:
            self.check()
            if self.ended:
                return False
            await self._news.wait()
        return True

    def take(self, limit: int) -> list[Slice]:
        """Hand out at most `limit` of the deliveries that are there."""
        taken: list[Slice] = []
        while limit and self._chunks:
            chunk, start = self._chunks[0], self._next
            stop = min(start + limit, chunk.batch.count)
            taken.append(Slice(chunk, start, stop))
            self._credits.hand_out(stop - start)
            limit -= stop - start
            self._next = stop
            if stop == chunk.batch.count:
                self._chunks.popleft()
                self._next = 0
        return taken

    def settle(self, slices: Sequence[Slice]) -> None:
        """The application has decided about these; deciding twice counts once."""
        self._credits.settle(sum(part.settle() for part in slices))

    def give_back(self) -> int:
        """Credits that should go back to the node now."""
        return self._credits.give_back()

    def check(self) -> None:
        """Raise why deliveries ended, if they ended by a failure."""
        if self._failure is not None:
            # A new exception each time: several tasks may raise it.
            raise to_error(to_failed(self._failure))

    def _announce(self) -> None:
        self._news.set()
        self._news = anyio.Event()

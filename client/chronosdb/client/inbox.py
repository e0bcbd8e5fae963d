"""Deliveries that have arrived and wait for the application, bounded by credits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import anyio

from chronosdb.client.chunk import Chunk, Slice
from chronosdb.client.credits import Credits, Line
from chronosdb.client.errors import to_error, to_failed
from chronosdb.wire.errors import ChronosError


class Inbox:
    """A queue of deliveries, of one node or of several, with an end."""

    def __init__(self, capacity: int) -> None:
        self.credits = Credits(capacity)
        #: Of the first chunk, the events before `_next` are handed out already.
        #: Invariant: chunks and `_next` together leave `credits.buffered` events.
        self._chunks: deque[Chunk] = deque()
        self._next = 0
        #: There will be no more deliveries: `_failure` says why, None: the application left.
        self.ended = False
        self._failure: ChronosError | None = None
        #: Fires, and is renewed, when deliveries arrive or end.
        self._news = anyio.Event()

    def drop(self, line: Line) -> None:
        """Forget what a node has sent and was not handed out: it is delivered again."""
        if self._chunks and self._chunks[0].attachment.line is line:
            self._next = 0
        self._chunks = deque(c for c in self._chunks if c.attachment.line is not line)
        self.credits.detach(line)

    def end(self, failure: ChronosError | None) -> None:
        """No more deliveries. Only the first call counts."""
        if self.ended:
            return
        self.ended = True
        self._failure = failure
        for chunk in list(self._chunks):
            self.drop(chunk.attachment.line)
        self._announce()

    def receive(self, chunk: Chunk) -> None:
        """Add deliveries.

        Raises:
            ProtocolError: more than the credits allow.
        """
        self.credits.receive(chunk.attachment.line, chunk.batch.count)
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
            self.credits.hand_out(chunk.attachment.line, stop - start)
            limit -= stop - start
            self._next = stop
            if stop == chunk.batch.count:
                self._chunks.popleft()
                self._next = 0
        return taken

    def settle(self, slices: Sequence[Slice]) -> None:
        """The application has decided about these; deciding twice counts once."""
        for part in slices:
            self.credits.settle(part.chunk.attachment.line, part.settle())

    def check(self) -> None:
        """Raise why deliveries ended, if they ended by a failure."""
        if self._failure is not None:
            # A new exception each time: several tasks may raise it.
            raise to_error(to_failed(self._failure))

    def _announce(self) -> None:
        self._news.set()
        self._news = anyio.Event()

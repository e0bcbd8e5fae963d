"""One partition's events: a stream that is opened again, behind the last event taken, when it breaks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import anyio

from chronosdb.client.cluster import Cluster
from chronosdb.client.connection import Connection
from chronosdb.client.errors import to_error, to_failed
from chronosdb.client.leaders import Partition
from chronosdb.client.replay.event import ReplayChunk
from chronosdb.client.replay.terms import ReplayTerms
from chronosdb.client.reply import Reply
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, NotFound, ProtocolError, error_from_wire
from chronosdb.wire.limits import MAX_REPLAYS
from chronosdb.wire.messages.replay import NO_CUT

#: Bytes that the streams of a replay may have sent ahead, together, and one of them at least.
_AHEAD_BYTES: Final = 4 * 1024 * 1024
_AHEAD_BYTES_MIN: Final = 64 * 1024


class Bell:
    """Rung when something has happened; heard by the one who waits, or will."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Wake the waiter."""
        self._rung.set()

    async def wait(self) -> None:
        """Return at the next ring, or at once if there was one."""
        await self._rung.wait()
        self._rung = anyio.Event()


class Source:
    """The events of one partition, in order, each once.

    Invariant: it is opened again only when its buffer is empty, so that the place behind the last event
    taken is the place behind the last event received.
    """

    def __init__(
        self,
        terms: ReplayTerms,
        partition: int,
        place: m.ReplayPlace | None,
        *,
        next_stream: Callable[[], int],
        bell: Bell,
        ahead_bytes: int,
    ) -> None:
        self.partition = partition
        #: Where the events end that were committed when the replay began.
        self.until = NO_CUT if place is None else place.until
        self._terms = terms
        #: Where to open, unless something was taken since; None: at the start.
        self._place = place
        #: The last event taken, as its chunk and its index there.
        self._last: tuple[ReplayChunk, int] | None = None
        self._next_stream = next_stream
        self._bell = bell
        self._ahead_bytes = ahead_bytes
        self._follows = False
        self._chunks: deque[ReplayChunk] = deque()
        #: Of the first chunk, the events before this are taken.
        self._next = 0
        #: Where the stream is open or being opened, and its number there.
        self._connection: Connection | None = None
        self._stream = 0
        #: Bytes that the node may still send, and that are taken but not given back.
        self._granted = 0
        self._owed = 0
        self._ended = False
        self._failure: ChronosError | None = None

    @property
    def where(self) -> Partition:
        """Whose events these are."""
        return Partition(self._terms.topic, self.partition)

    @property
    def has_head(self) -> bool:
        """Whether the next event is here."""
        return bool(self._chunks)

    @property
    def time_ms(self) -> int:
        """The time of the next event, which is here: by this, sources are merged and paced."""
        return self._chunks[0].times[self._next]

    @property
    def closed(self) -> bool:
        """Whether it must be opened before there can be more."""
        return self._connection is None and not self._ended

    @property
    def place(self) -> m.ReplayPlace | None:
        """The place behind the last event taken; None: nothing was and it was never open."""
        if self._last is not None:
            chunk, index = self._last
            return chunk.place_after(index, self.until)
        return self._place

    def has_ended(self) -> bool:
        """Whether no event is left; only without a head.

        Raises:
            ChronosError: the node said that there is no more, and why.
        """
        if self._failure is not None:
            raise to_error(to_failed(self._failure))
        return self._ended

    def take(self) -> tuple[ReplayChunk, int]:
        """The next event, as its chunk and its index there; it is then gone from here."""
        chunk, index = self._last = self._chunks[0], self._next
        self._next = index + 1
        if self._next == chunk.batch.count:
            self._chunks.popleft()
            self._next = 0
            self._give_back(len(chunk.batch.blob))
        return self._last

    def go_on(self) -> None:
        """After the end: with what was committed since, and is committed from now on."""
        assert self._ended
        self._ended = False
        self._follows = True

    def ask(self, connection: Connection, *, ahead: bool) -> Reply:
        """Open a stream on `connection`; unless `ahead`, nothing is to be sent."""
        assert self.closed
        assert not self._chunks
        self._connection, self._stream = connection, self._next_stream()
        self._granted, self._owed = self._ahead_bytes if ahead else 0, 0
        connection.bind_replay(self._stream, self._receive)
        terms = self._terms
        return connection.ask(
            lambda request: m.Replay(
                request,
                self._stream,
                terms.topic,
                self.partition,
                terms.by,
                terms.start,
                terms.end,
                terms.key,
                self._follows,
                self.place,
                self._granted,
            )
        )

    def opened(self, place: m.ReplayPlace) -> None:
        """The node has opened the stream, there."""
        self._place, self._last, self.until = place, None, place.until

    def close(self) -> None:
        """Ask for no more. What is buffered stays, unless the stream was only being opened."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.unbind_replay(self._stream)
            stream = self._stream
            connection.tell(lambda: m.ReplayEnd(stream))

    def abandon(self) -> None:
        """Opening failed: as if it had not been tried."""
        self.close()
        self._chunks.clear()
        self._ended = False
        self._failure = None

    def _receive(self, message: m.Replayed | m.ReplayEnd) -> None:
        if isinstance(message, m.Replayed):
            self._chunks.append(self._checked(message))
        else:
            self._end(message)
        self._bell.ring()

    def _checked(self, message: m.Replayed) -> ReplayChunk:
        chunk = ReplayChunk(message, self._terms.by, self.partition)
        nbytes = len(chunk.batch.blob)
        if self._granted <= 0 or (nbytes > self._granted and chunk.batch.count > 1):
            raise ProtocolError(f"the node sent {nbytes} bytes; it had credit for {self._granted}")
        self._granted -= nbytes
        return chunk

    def _end(self, message: m.ReplayEnd) -> None:
        if self._connection is not None:
            self._connection.unbind_replay(self._stream)
            self._connection = None
        if not message.code:
            self._ended = True
        elif not message.retryable:
            self._failure = error_from_wire(
                message.code, message.message, retryable=False, details=message.details
            )

    def _give_back(self, nbytes: int) -> None:
        """Let the node send more, by halves, so that it sends large frames."""
        self._owed += nbytes
        if self._connection is None or (2 * self._owed < self._ahead_bytes and self._chunks):
            return
        stream, owed = self._stream, self._owed
        self._connection.tell(lambda: m.ReplayCredit(stream, owed))
        self._granted += owed
        self._owed = 0


def ahead_bytes(streams: int) -> int:
    """How much each of so many streams may have sent ahead."""
    return max(_AHEAD_BYTES_MIN, _AHEAD_BYTES // streams)


async def cut_all(cluster: Cluster, sources: Sequence[Source]) -> None:
    """Let each source know where it ends, so that what is committed later is no part of it.

    Raises:
        ChronosError: as `open_all`.
    """
    for first in range(0, len(sources), MAX_REPLAYS):
        some = sources[first : first + MAX_REPLAYS]
        try:
            await open_all(cluster, some, ahead=False)
        finally:
            for source in some:
                source.close()


async def open_all(cluster: Cluster, sources: Sequence[Source], *, ahead: bool = True) -> None:
    """Open those of `sources` that are closed; unless `ahead`, without events for now.

    Raises:
        ChronosError: that did not succeed within the deadline, or cannot.
    """

    async def attempt() -> None:
        asked: deque[tuple[Source, Reply]] = deque()
        try:
            for source in [source for source in sources if source.closed]:
                connection = await cluster.connection(source.where)
                asked.append((source, source.ask(connection, ahead=ahead)))
            while asked:
                source, reply = asked[0]
                source.opened((await reply.wait(m.ReplayOpened)).place)
                asked.popleft()
        except NotFound as error:
            error.retryable = await cluster.may_come(where, error)
            raise
        finally:
            for source, _ in asked:
                source.abandon()

    where = sources[0].where
    await cluster.retry.run(attempt, partial(cluster.pause, where))

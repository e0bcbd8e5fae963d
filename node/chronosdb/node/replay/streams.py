"""The streams of one connection: flow control, and how each begins and ends."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from chronosdb.node import faults
from chronosdb.node.broker import Broker
from chronosdb.node.clock import Signal
from chronosdb.node.partition.history import History
from chronosdb.node.partition.partition import Partition
from chronosdb.node.replay.courses import Course, Rows
from chronosdb.node.replay.gather import Gatherer, Page
from chronosdb.node.replay.opening import course_from, first_place, is_gone
from chronosdb.wal import LogClosed, OutOfRange, WalError
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, Conflict, NotLeader, Overloaded
from chronosdb.wire.limits import MAX_REPLAYS

logger = logging.getLogger(__name__)

#: A frame is closed before it grows past this; one event may be larger. Small, because whoever
#: publishes meanwhile waits for it.
_FRAME_BYTES: Final = 64 * 1024

Send = Callable[[m.Message], None]
Spawn = Callable[[Callable[[], Awaitable[None]]], None]


class Replays:
    """The replays of one connection."""

    def __init__(
        self, broker: Broker, send: Send, has_room: Callable[[], bool], spawn: Spawn
    ) -> None:
        self._broker = broker
        self._send = send
        self._has_room = has_room
        self._spawn = spawn
        #: Invariant: exactly the streams that were opened and have not ended.
        self._streams: dict[int, _Stream] = {}

    def open(self, message: m.Replay) -> m.ReplayOpened:
        """Begin a stream; the answer, which is sent before its first event.

        Raises:
            Conflict: the number is in use.
            Overloaded: the connection has as many streams as it may.
            NotFound: no such topic or partition, or the beginning is not stored any more.
            NotLeader: another node leads the partition.
            InvalidArgument: what is asked does not go together.
        """
        if message.stream in self._streams:
            raise Conflict(f"this connection has a stream {message.stream} already")
        if len(self._streams) >= MAX_REPLAYS:
            raise Overloaded(f"this connection has {MAX_REPLAYS} replays open; end one first")
        partition = self._broker.partition(message.topic, message.partition)
        history = partition.history()
        place = first_place(history, message)
        course = course_from(history, message, place)
        stream = _Stream(
            message, partition, history, course, send=self._send, has_room=self._has_room
        )
        self._streams[message.stream] = stream
        self._spawn(lambda: self._run(stream))
        return m.ReplayOpened(message.request, place)

    def credit(self, message: m.ReplayCredit) -> None:
        """The client has room for more. Credit may cross the end of its stream on the way."""
        stream = self._streams.get(message.stream)
        if stream is not None:
            stream.credit += message.credit
            stream.wake()

    def end(self, message: m.ReplayEnd) -> None:
        """The client has enough."""
        stream = self._streams.pop(message.stream, None)
        if stream is not None:
            stream.stop()

    def wake(self) -> None:
        """There is room for frames again."""
        for stream in self._streams.values():
            stream.wake()

    async def _run(self, stream: _Stream) -> None:
        try:
            await stream.run()
        finally:
            if self._streams.get(stream.number) is stream:
                del self._streams[stream.number]


class _Stream:
    """One replay of one partition."""

    def __init__(
        self,
        message: m.Replay,
        partition: Partition,
        history: History,
        course: Course,
        *,
        send: Send,
        has_room: Callable[[], bool],
    ) -> None:
        self.number = message.stream
        #: Bytes that the client has room for; below 0 after one event that is larger.
        self.credit = message.credit
        self._name = f"partition {message.partition} of topic {message.topic!r}"
        self._follows = message.follow
        self._partition = partition
        self._history = history
        self._course = course
        self._gatherer = Gatherer(history.reader, message.key)
        self._send = send
        self._has_room = has_room
        self._wake = Signal()
        self._scope = trio.CancelScope()

    def wake(self) -> None:
        """There may be something to do that could not be done before."""
        self._wake.set()

    def stop(self) -> None:
        """Send nothing more."""
        self._scope.cancel()

    async def run(self) -> None:
        """Send everything, then say how it ended; after `stop`, nothing."""
        with self._scope:
            unfollow = self._history.follow(self.wake) if self._follows else None
            try:
                await self._send_all()
            except OutOfRange:
                self._send(self._failed(is_gone(self._history, self._name)))
            except (ChronosError, WalError) as error:
                self._send(self._failed(error))
            else:
                self._send(m.ReplayEnd(self.number))
            finally:
                if unfollow is not None:
                    unfollow()

    async def _send_all(self) -> None:
        while (rows := await self._course.next()) is not None:
            if len(rows.offsets):
                await self._send_rows(rows)
            elif self._partition.stopping:
                raise NotLeader(f"{self._name} is led elsewhere from now on, or not at all")
            else:
                await self._wake.wait()

    async def _send_rows(self, rows: Rows) -> None:
        self._gatherer.want(rows.offsets)
        await self._room()
        while (page := await self._gatherer.page(min(self.credit, _FRAME_BYTES))) is not None:
            frame = _frame(self.number, rows, page)
            self.credit -= len(frame.batch)
            self._send(frame)
            await trio.lowlevel.checkpoint()
            await self._room()

    async def _room(self) -> None:
        """Wait until a frame may be sent. Only this task spends credit."""
        while self.credit <= 0 or not self._has_room():
            await self._wake.wait()

    def _failed(self, error: ChronosError | WalError) -> m.ReplayEnd:
        if isinstance(error, WalError):
            # A log that is closed is a node that stops in order.
            level = logging.DEBUG if isinstance(error, LogClosed) else logging.ERROR
            logger.log(level, "a replay of %s met its log: %s", self._name, error)
            error = faults.of_log(error)
        return m.ReplayEnd(self.number, error.code, error.message, error.retryable, error.details)


def _frame(stream: int, rows: Rows, page: Page) -> m.Replayed:
    chosen, batch = page.chosen, page.batch
    if rows.due_ms is not None:
        batch = batch.with_due(rows.due_ms[chosen].tobytes())
    positions = fired = b""
    if rows.first_position is not None and rows.fired_ms is not None:
        positions = (rows.first_position + chosen).tobytes()
        fired = rows.fired_ms[chosen].tobytes()
    return m.Replayed(
        stream,
        memoryview(rows.offsets[chosen].tobytes()),
        memoryview(page.published_ms.tobytes()),
        memoryview(positions),
        memoryview(fired),
        memoryview(batch.blob),
    )

"""One client connection: a task that reads and acts, a task that writes, one protocol session."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.service.outbox import Outbox
from chronosdb.node.service.requests import Requests, Services
from chronosdb.wire import Role, Session, State
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ProtocolError
from chronosdb.wire.limits import MAX_REASON_CHARS

logger = logging.getLogger(__name__)

_READ_BYTES: Final = 256 * 1024
#: Requests that need a task of their own (create a topic, join a group), at one time.
_SLOW_REQUESTS: Final = 16
#: Requests of any kind that wait for their answer, at one time.
_UNANSWERED: Final = 65_536
#: How long a client has to take what is still on its way to it when the connection ends.
_GOODBYE_S: Final = 5.0
_TOO_SLOW: Final = "nothing was heard of this client for too long, or nothing taken by it"


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Limits of one connection."""

    max_inflight_bytes: int = 64 * 1024 * 1024
    handshake_timeout_s: float = 5.0
    idle_timeout_s: float = 60.0


class Connection:
    """Serves one client."""

    def __init__(
        self, stream: trio.abc.HalfCloseableStream, services: Services, options: ConnectionOptions
    ) -> None:
        self._stream = stream
        self._options = options
        self._session = Session(Role.SERVER)
        self._outbox = Outbox()
        self._requests = Requests(services, self._send, lambda: self._outbox.has_room, self._spawn)
        self._nursery: trio.Nursery | None = None
        #: Something was answered or sent: reading may go on.
        self._progress = Signal()
        self._slow = trio.Semaphore(_SLOW_REQUESTS)
        self._opened_s = trio.current_time()
        #: Since when the next bytes of the client are waited for. None: what came is being done.
        self._waiting_since_s: float | None = None

    @property
    def inflight_bytes(self) -> int:
        """Bytes of publishes that are queued and not answered."""
        return self._requests.inflight_bytes

    async def run(self) -> None:
        """Serve until either side closes; the client's leases go back then."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._write, nursery.cancel_scope)
                with trio.CancelScope() as reading:
                    nursery.start_soon(self._watch_silence, reading)
                    await self._read(nursery)
                if reading.cancelled_caught:
                    self.close(_TOO_SLOW)
                self._outbox.close()
                nursery.cancel_scope.deadline = trio.current_time() + _GOODBYE_S
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            logger.debug("a client's connection broke")
        finally:
            self._outbox.close()
            self._requests.leave()
            await trio.aclose_forcefully(self._stream)

    def leaders_changed(self, topics: frozenset[str]) -> None:
        """Tell the client of those that it deals with: other nodes lead them now."""
        if self._session.state is State.OPEN:
            self._requests.leaders_changed(topics)

    def close(self, reason: str) -> None:
        """Say goodbye, after everything that is already on its way."""
        self._send(m.Closing(reason[:MAX_REASON_CHARS]))
        self._outbox.close()

    async def _write(self, scope: trio.CancelScope) -> None:
        await self._outbox.pump(self._stream, self._sent)
        scope.cancel()

    async def _read(self, nursery: trio.Nursery) -> None:
        """Take in bytes and act on each message, until the client is gone or breaks the protocol."""
        try:
            while data := await self._receive():
                self._session.receive_data(data)
                while (message := self._session.next_message()) is not None:
                    await self._act(nursery, message)
                    if self._overloaded():
                        await self._relief()
        except ProtocolError as error:
            logger.info("closing a connection: %s", error)
            self.close(f"protocol error: {error}")
        except trio.TooSlowError:
            self.close(_TOO_SLOW)

    async def _receive(self) -> bytes | bytearray:
        self._waiting_since_s = trio.current_time()
        data = await self._stream.receive_some(_READ_BYTES)
        self._waiting_since_s = None
        return data

    async def _watch_silence(self, reading: trio.CancelScope) -> None:
        """End the reading of a client that is silent for too long.

        A task of its own, because a deadline around each read would cost more than most requests.
        """
        while not reading.cancel_called:
            until_s = self._patience_s()
            if trio.current_time() < until_s:
                await trio.sleep_until(until_s)
            else:
                reading.cancel()

    def _patience_s(self) -> float:
        """Until when the client may be silent: to say hello it has one time, however it is filled.

        What it says meanwhile moves that on, and never back.
        """
        if self._session.state is State.OPENING:
            return self._opened_s + self._options.handshake_timeout_s
        since_s = self._waiting_since_s
        return (trio.current_time() if since_s is None else since_s) + self._options.idle_timeout_s

    async def _relief(self) -> None:
        """Read no further until enough was answered, and the answers taken."""
        while self._overloaded():
            with trio.fail_after(self._options.idle_timeout_s):
                await self._progress.wait()

    async def _act(self, nursery: trio.Nursery, message: m.Message) -> None:
        if isinstance(message, m.Closing):
            self._outbox.close()
        elif self._requests.is_slow(message):
            await self._slow.acquire()
            nursery.start_soon(self._act_slowly, message)
        else:
            self._requests.act(message)

    async def _act_slowly(self, message: m.Message) -> None:
        try:
            await self._requests.act_slowly(message)
        finally:
            self._slow.release()

    def _spawn(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task that ends with the connection."""
        assert self._nursery is not None
        self._nursery.start_soon(task)

    def _overloaded(self) -> bool:
        return (
            self._requests.inflight_bytes > self._options.max_inflight_bytes
            or self._requests.unanswered > _UNANSWERED
            or self._outbox.overfull
        )

    def _send(self, message: m.Message) -> None:
        saying_why = isinstance(message, m.Closing)
        if not self._outbox.closing and (self._session.state is not State.CLOSED or saying_why):
            self._outbox.add(self._session.send(message))

    def _sent(self, made_room: bool) -> None:
        self._progress.set()
        if made_room:
            self._requests.wake()

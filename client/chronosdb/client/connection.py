"""One open connection: a reader, a writer and a keep-alive around `wire.Session`.

Everything that changes state is synchronous: `ask` registers a request and queues its frame, the
reader resolves it. Only `run` does I/O. When the connection is lost, for whatever reason, every
request in flight is answered with that reason, so nobody waits for a dead peer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import anyio
from anyio.abc import ByteStream

from chronosdb.client.addresses import Address
from chronosdb.client.errors import client_closed, stream_errors, to_error, to_failed
from chronosdb.client.outbox import Outbox
from chronosdb.client.reply import Reply
from chronosdb.wire import Session
from chronosdb.wire import messages as m
from chronosdb.wire.errors import (
    ChronosError,
    ConnectionLost,
    InvalidArgument,
    Overloaded,
    ProtocolError,
)
from chronosdb.wire.frames import LENGTH_BYTES

READ_BYTES: Final = 256 * 1024
WRITE_BYTES: Final = 256 * 1024
#: Requests without an answer, on one connection.
MAX_IN_FLIGHT: Final = 65_536
#: Ask for a sign of life after this long without a byte in one of the directions …
QUIET_S: Final = 10.0
#: … and give the connection up after this long without a byte from the node.
DEAD_S: Final = 30.0
#: The same where other nodes can take over, well within the usual deadline of a request.
CLUSTER_QUIET_S: Final = 3.0
CLUSTER_DEAD_S: Final = 7.0
#: How long closing may wait for the last frames to be written.
FLUSH_S: Final = 0.5

#: Makes a request, given its number.
Ask: TypeAlias = Callable[[int], m.Message]
#: Takes the deliveries of one subscription; raises ProtocolError when they make no sense.
Sink: TypeAlias = Callable[[m.Deliver], None]

#: Takes what one stream of a replay is sent; as with Sink.
ReplaySink: TypeAlias = Callable[[m.Replayed | m.ReplayEnd], None]

#: The number in a `Failed` that is about the connection, not about a request.
_NO_REQUEST: Final = 0


class Connection:
    """A connection after its handshake. `run` must be running for anything to move."""

    def __init__(
        self, stream: ByteStream, session: Session, welcome: m.Welcome, now_ms: Callable[[], int]
    ) -> None:
        self.welcome = welcome
        #: Where it was dialled; None: by a test.
        self.dialled: Address | None = None
        self.lost = anyio.Event()
        #: Is told of a topic whose leaders have changed.
        self.on_leaders_changed: Callable[[str], None] = _ignore
        self._stream = stream
        self._session = session
        self._now_ms = now_ms
        self._outbox = Outbox()
        self._sinks: dict[int, Sink] = {}
        #: Invariant: holds exactly the streams that may still be sent something; empty once lost.
        self._replays: dict[int, ReplaySink] = {}
        self._last_request = _NO_REQUEST
        #: Invariant: holds exactly the requests that were queued and have no answer; empty once lost.
        self._pending: dict[int, Reply] = {}
        #: Why the connection is lost. Invariant: set once, together with `lost`.
        self._loss: ConnectionLost | None = None
        self._received_s = self._sent_s = anyio.current_time()
        #: The last question for a sign of life.
        self._probe: Reply | None = None
        alone = not welcome.address
        self._quiet_s = QUIET_S if alone else CLUSTER_QUIET_S
        self._dead_s = DEAD_S if alone else CLUSTER_DEAD_S

    @property
    def heard_s(self) -> float:
        """When the last byte came, on the event loop's clock."""
        return self._received_s

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer, or for deliveries."""
        probing = self._probe is not None and not self._probe.resolved
        return bool(len(self._pending) > probing or self._sinks or self._replays)

    # ---- state: synchronous, called by anyone ------------------------------------------------

    def ask(self, ask: Ask) -> Reply:
        """Queue a request; the reply tells what became of it, also when it could not be queued.

        Raises:
            InvalidArgument: the message is larger than this node takes.
        """
        reply, accepted = self._register()
        if accepted:
            try:
                self._outbox.push(self._encode(ask(reply.request)))
            except BaseException:
                del self._pending[reply.request]
                raise
        return reply

    def ask_late(self, ask: Ask) -> Reply:
        """As `ask`, but `ask` is called only when the writer gets there."""
        reply, accepted = self._register()
        if accepted:
            self._outbox.push(lambda: self._encode(ask(reply.request)))
        return reply

    def tell(self, make: Callable[[], m.Message]) -> None:
        """Queue a message that has no reply, made when the writer gets there.

        Does nothing once the connection is lost.
        """
        if self._loss is None:
            self._outbox.push(lambda: self._encode(make()))

    def bind(self, subscription: int, sink: Sink) -> None:
        """Hand the deliveries of `subscription` to `sink`."""
        assert subscription not in self._sinks, "a subscription's number is used once at a time"
        self._sinks[subscription] = sink

    def unbind(self, subscription: int) -> None:
        """Drop what still arrives for `subscription`."""
        self._sinks.pop(subscription, None)

    def bind_replay(self, stream: int, sink: ReplaySink) -> None:
        """Hand what comes for `stream` to `sink`; its end too, also when the connection is lost."""
        assert stream not in self._replays, "a stream's number is used once"
        self._replays[stream] = sink

    def unbind_replay(self, stream: int) -> None:
        """Drop what still arrives for `stream`."""
        self._replays.pop(stream, None)

    def loss(self) -> ConnectionLost:
        """Why the connection is lost; only after it was."""
        assert self._loss is not None, "the connection is open"
        return self._loss

    def _register(self) -> tuple[Reply, bool]:
        self._last_request = self._last_request % (2**32 - 1) + 1
        reply = Reply(self._last_request)
        if self._loss is not None:
            reply.resolve(to_failed(self._loss))
        elif len(self._pending) >= MAX_IN_FLIGHT or reply.request in self._pending:
            reply.resolve(to_failed(Overloaded(f"{MAX_IN_FLIGHT} requests wait for an answer")))
        else:
            self._pending[reply.request] = reply
            return reply, True
        return reply, False

    def _encode(self, message: m.Message) -> bytes:
        data = self._session.send(message)
        if len(data) - LENGTH_BYTES > self.welcome.max_frame_bytes:
            raise InvalidArgument(
                f"a request of {len(data) - LENGTH_BYTES} bytes;"
                f" this node takes at most {self.welcome.max_frame_bytes}"
            )
        return data

    def _lose(self, error: ChronosError) -> None:
        if self._loss is not None:
            return
        pending, self._pending = self._pending, {}
        for reply in pending.values():
            reply.resolve(to_failed(error))
        # Whoever asks from now on has no part in a violation of the protocol: for them it is only a
        # connection that is gone.
        self._loss = error if isinstance(error, ConnectionLost) else ConnectionLost(error.message)
        self._sinks.clear()
        replays, self._replays = self._replays, {}
        for stream, sink in replays.items():
            sink(m.ReplayEnd(stream, error.code, error.message, error.retryable, error.details))
        self.lost.set()

    # ---- I/O: the tasks of `run` -------------------------------------------------------------

    async def run(self) -> None:
        """Move bytes until the connection is lost; `loss()` then says why."""
        try:
            async with anyio.create_task_group() as tasks:
                for pump in (self._read, self._write, self._keep_alive):
                    tasks.start_soon(self._until_lost, pump, tasks.cancel_scope)
        finally:
            self._lose(client_closed())
            await anyio.aclose_forcefully(self._stream)

    async def close(self, error: ConnectionLost | None = None) -> None:
        """Say goodbye, write what is queued, but do not wait long for a peer that does not read.

        Whoever still waits is told `error`; without one, that the client is closed.
        """
        if self._loss is not None:
            return
        queued = self._outbox.take_nowait()
        self._outbox.push(queued + self._session.send(m.Closing("the client is done")))
        self._lose(error or client_closed())
        with anyio.move_on_after(FLUSH_S, shield=True):
            await self._outbox.idle()

    async def discard(self, error: ConnectionLost) -> None:
        """Close a connection that never ran."""
        self._lose(error)
        await anyio.aclose_forcefully(self._stream)

    async def _until_lost(
        self, pump: Callable[[], Awaitable[None]], scope: anyio.CancelScope
    ) -> None:
        try:
            await pump()
        except ChronosError as error:
            self._lose(error)
            scope.cancel()

    async def _read(self) -> None:
        with stream_errors("waiting for the node"):
            while True:
                while (message := self._session.next_message()) is not None:
                    self._dispatch(message)
                data = await self._stream.receive(READ_BYTES)
                self._received_s = anyio.current_time()
                self._session.receive_data(data)

    async def _write(self) -> None:
        with stream_errors("sending"):
            while True:
                await self._stream.send(await self._outbox.take(WRITE_BYTES))
                self._sent_s = anyio.current_time()

    async def _keep_alive(self) -> None:
        while True:
            now_s = anyio.current_time()
            dead_s = self._received_s + self._dead_s
            ask_s = min(self._received_s, self._sent_s) + self._quiet_s
            if now_s >= dead_s:
                raise ConnectionLost(f"not a byte from the node for {self._dead_s:.0f} s")
            if now_s >= ask_s:
                self._probe = self.ask(m.Ping)
                ask_s = now_s + self._quiet_s
            await anyio.sleep_until(min(ask_s, dead_s))

    def _dispatch(self, message: m.ClientMessage | m.ServerMessage) -> None:
        match message:
            case m.Deliver():
                # None: the subscription was left while this was on its way; the node takes it back.
                if sink := self._sinks.get(message.subscription):
                    sink(message)
            case m.Replayed() | m.ReplayEnd():
                # None: the replay was left while this was on its way.
                if replay := self._replays.get(message.stream):
                    replay(message)
            case m.LeadersChanged():
                self.on_leaders_changed(message.topic)
            case m.Ping():
                self.tell(partial(m.Pong, message.request, self._now_ms()))
            case m.Closing():
                raise ConnectionLost(f"the node closes the connection: {message.reason}")
            case m.Failed(request=request) if request == _NO_REQUEST:
                raise to_error(message)
            case m.Answer():
                self._resolve(message.request, message)

    def _resolve(self, request: int, answer: m.Answer) -> None:
        reply = self._pending.pop(request, None)
        if reply is None:
            raise ProtocolError(f"the node answered request {request}, which waits for no answer")
        reply.resolve(answer)


def _ignore(_topic: str) -> None:
    """Nobody wants to know."""

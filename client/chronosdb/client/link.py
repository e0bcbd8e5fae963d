"""The client's line to a node: one connection at a time, renewed whenever it is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import anyio

from chronosdb.client.connection import Ask, Connection
from chronosdb.client.dialer import Dialer
from chronosdb.client.errors import client_closed, to_error, to_failed
from chronosdb.client.reply import Reply
from chronosdb.client.retry import Retry
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError

R = TypeVar("R")

#: After a connection that lived this long, waits between attempts start short again.
GOOD_S: Final = 5.0


class Link:
    """Requests over whatever connection there is."""

    def __init__(self, dialer: Dialer, retry: Retry, connection: Connection) -> None:
        self.retry = retry
        self._dialer = dialer
        #: The open connection. Invariant: None only while `_failure` says why.
        self._current: Connection | None = connection
        self._failure: m.Failed | None = None
        #: No connection will follow: the client is closed, or every node refuses it for good.
        self._ended = False
        #: Fires, and is renewed, whenever one of the above changes.
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Keep a connection until cancelled, or until every node refuses this client for good."""
        connection = self._current
        delays_s = self.retry.delays_s()
        try:
            while connection is not None:
                started_s = anyio.current_time()
                await connection.run()
                self._change(None, connection.loss())
                if anyio.current_time() - started_s >= GOOD_S:
                    delays_s = self.retry.delays_s()
                connection = await self._reconnect(delays_s)
        except BaseException:
            self._ended = True
            self._change(None, client_closed())
            raise

    async def close(self) -> None:
        """Say goodbye to the node; cancel `run` after this."""
        if self._current is not None:
            await self._current.close()

    async def connection(self) -> Connection:
        """The open connection; without one, what comes of the next attempt to make one.

        Raises:
            ChronosError: that attempt failed, or there will be no more.
        """
        if self._current is None and not self._ended:
            await self._changed.wait()
        if self._current is not None:
            return self._current
        assert self._failure is not None, "without a connection there is a reason"
        raise to_error(self._failure)

    async def call(self, ask: Ask, expected: type[R]) -> R:
        """The answer to one request, asked again within the deadline where that may help.

        Raises:
            ChronosError: see `Retry.run`.
        """
        return await self._finish(ask, None, expected)

    async def call_all(
        self, asks: Iterable[tuple[Ask, int]], expected: type[R], budget: int
    ) -> list[R]:
        """The answers to many requests, in order; each request comes with its size.

        Requests are sent in order without waiting for answers, as long as those in flight are
        together no larger than `budget`; one at least. Each has a deadline of its own.

        Raises:
            ChronosError: of the first request that failed. Later ones may have succeeded.
        """
        answers: list[R] = []
        flying: deque[tuple[Ask, Reply | None, int]] = deque()
        size = 0

        async def land() -> int:
            ask, reply, nbytes = flying.popleft()
            answers.append(await self._finish(ask, reply, expected))
            return nbytes

        for ask, nbytes in asks:
            while flying and size + nbytes > budget:
                size -= await land()
            reply = self._current.ask(ask) if self._current is not None else None
            flying.append((ask, reply, nbytes))
            size += nbytes
        while flying:
            await land()
        return answers

    async def _finish(self, ask: Ask, first: Reply | None, expected: type[R]) -> R:
        """As `call`; `first` is an attempt that is already under way."""
        attempts = iter((first,))

        async def attempt() -> R:
            reply = next(attempts, None)
            if reply is None:
                reply = (await self.connection()).ask(ask)
            return await reply.wait(expected)

        return await self.retry.run(attempt)

    async def _reconnect(self, delays_s: Iterator[float]) -> Connection | None:
        for delay_s in delays_s:
            await anyio.sleep(delay_s)
            try:
                connection = await self._dialer.dial()
            except ChronosError as error:
                self._ended = not error.retryable
                self._change(None, error)
            else:
                self._change(connection, None)
                return connection
            if self._ended:
                break
        return None

    def _change(self, connection: Connection | None, failure: ChronosError | None) -> None:
        self._current = connection
        self._failure = None if failure is None else to_failed(failure)
        self._changed.set()
        self._changed = anyio.Event()

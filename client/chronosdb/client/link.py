"""The client's line to any node: one connection at a time, renewed whenever it is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import anyio

from chronosdb.client.connection import Connection
from chronosdb.client.dialer import Dialer
from chronosdb.client.errors import client_closed, to_error, to_failed
from chronosdb.client.retry import Retry
from chronosdb.client.signal import Signal
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError

#: After a connection that lived this long, waits between attempts start short again.
GOOD_S: Final = 5.0


class Link:
    """A connection that is always there, or about to be. `met` is told of each before it is used."""

    def __init__(
        self,
        dialer: Dialer,
        retry: Retry,
        connection: Connection,
        met: Callable[[Connection], None],
    ) -> None:
        self._dialer = dialer
        self._retry = retry
        self._met = met
        #: The open connection. Invariant: None only while `_failure` says why.
        self.current: Connection | None = connection
        self._failure: m.Failed | None = None
        #: No connection will follow: the client is closed, or every node refuses it for good.
        self._ended = False
        #: Fires whenever one of the above changes.
        self._changed = Signal()
        met(connection)

    async def run(self) -> None:
        """Keep a connection until cancelled, or until every node refuses this client for good."""
        connection = self.current
        delays_s = self._retry.delays_s()
        try:
            while connection is not None:
                started_s = anyio.current_time()
                await connection.run()
                self._change(None, connection.loss())
                if connection.welcome.address and connection.dialled is not None:
                    self._dialer.contacts.failed(
                        connection.dialled
                    )  # others are likelier to answer
                if anyio.current_time() - started_s >= GOOD_S:
                    delays_s = self._retry.delays_s()
                connection = await self._reconnect(delays_s)
        except BaseException:
            self._ended = True
            self._change(None, client_closed())
            raise

    async def close(self) -> None:
        """Say goodbye to the node; cancel `run` after this."""
        if self.current is not None:
            await self.current.close()

    async def connection(self) -> Connection:
        """The open connection; without one, what comes of the next attempt to make one.

        Raises:
            ChronosError: that attempt failed, or there will be no more.
        """
        if self.current is None and not self._ended:
            await self._changed.wait()
        if self.current is not None:
            return self.current
        assert self._failure is not None, "without a connection there is a reason"
        raise to_error(self._failure)

    async def _reconnect(self, delays_s: Iterator[float]) -> Connection | None:
        for delay_s in delays_s:
            await anyio.sleep(delay_s)
            try:
                connection = await self._dialer.dial()
            except ChronosError as error:
                self._ended = not error.retryable
                self._change(None, error)
            else:
                self._met(connection)
                self._change(connection, None)
                return connection
            if self._ended:
                break
        return None

    def _change(self, connection: Connection | None, failure: ChronosError | None) -> None:
        self.current = connection
        self._failure = None if failure is None else to_failed(failure)
        self._changed.fire()

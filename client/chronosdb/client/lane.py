"""The line to one node of a cluster: a connection that is made when somebody needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from chronosdb.client.connection import Connection
from chronosdb.client.errors import to_error, to_failed
from chronosdb.client.link import GOOD_S
from chronosdb.client.retry import Retry
from chronosdb.client.signal import Signal
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, ConnectionLost

#: A connection that nobody used for this long is closed.
IDLE_S: Final = 60.0


class Lane:
    """No connection, one that is being made, or an open one. After a failure it rests for a moment."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Connection]],
        retry: Retry,
        tasks: TaskGroup,
        changed: Signal,
    ) -> None:
        self._dial = dial
        self._retry = retry
        self._tasks = tasks
        #: Fires when the connection is there, or is not to be had.
        self._changed = changed
        #: The open connection. Invariant: not None only while `_under_way`.
        self._current: Connection | None = None
        self._under_way = False
        self._scope = anyio.CancelScope()
        #: Why the last attempt failed or the last connection ended; not tried again before `_rested_s`.
        self._failure: m.Failed | None = None
        self._rested_s = self._used_s = anyio.current_time()
        self._delays_s = retry.delays_s()

    @property
    def current(self) -> Connection | None:
        """The open connection, if there is one."""
        return self._current

    @property
    def idle(self) -> bool:
        """Whether nobody has used it for a while."""
        if self._current is not None and self._current.busy:
            self._used_s = anyio.current_time()
        return anyio.current_time() >= self._used_s + IDLE_S

    def reach(self) -> Connection | None:
        """The open connection; None while it is being made.

        Raises:
            ChronosError: it could not be made, a moment ago.
        """
        now_s = self._used_s = anyio.current_time()
        if not self._under_way:
            if self._failure is not None and now_s < self._rested_s:
                raise to_error(self._failure)
            self._under_way = True
            self._tasks.start_soon(self._run)
        return self._current

    async def close(self, error: ConnectionLost | None = None) -> None:
        """Say goodbye to the node; see `Connection.close`."""
        if self._current is not None:
            await self._current.close(error)
        self._scope.cancel()

    async def _run(self) -> None:
        began_s = anyio.current_time()
        with anyio.CancelScope() as self._scope:
            try:
                connection = await self._dial()
            except ChronosError as error:
                self._rest(error)
                return
            self._current = connection
            self._changed.fire()
            await connection.run()
            if anyio.current_time() - began_s >= GOOD_S:
                self._delays_s = self._retry.delays_s()
            self._rest(connection.loss())

    def _rest(self, error: ChronosError) -> None:
        self._current = None
        self._under_way = False
        self._failure = to_failed(error)
        self._rested_s = anyio.current_time() + next(self._delays_s)
        self._changed.fire()

"""`Broker`: a real node inside a test, whose time the test moves.

`advance` does not run through time, it leaps: to the next moment that anything in the node waits for
(an event that is due, a retry, the end of a lease, an occurrence of a schedule), lets all tasks do
what they do then, and leaps on. So each event fires on its own millisecond, and an idle year is one leap.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, final

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from chronosdb.client import Client, Seams, connect
from chronosdb.testing.clock import LeapingClock, WallClock
from chronosdb.testing.deliveries import Delivered, Witness
from chronosdb.testing.machine import Machine
from chronosdb.wire import epoch_ms

#: What a broker's wall clock shows at first, unless it is told otherwise.
START: Final = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)

#: A client that heard nothing for longer than this may find its connection dead, and reconnect; …
_SILENCE_MS: Final = 9_000
#: … so a longer leap stops so long before its end, for the client to notice, dial, and dial again.
_STOPS_BEFORE_MS: Final = (1_000, 900, 500)

_MILLISECOND: Final = dt.timedelta(milliseconds=1)


@final
class Broker:
    """A real node in this process, under trio's MockClock; used once, as a context manager.

    `async with Broker() as broker:` starts it, and stops it in order at the end. `start` is what its
    wall clock shows at first: an aware datetime or epoch ms. `settings` are those of the node, by
    the names of `Config` (`ack_timeout_ms=5_000`). `seed` decides the jitter of node and clients.

    Raises, on entering:
        RuntimeError: the test does not run under trio's MockClock.
        TypeError: a setting does not exist.
        ConfigError: the settings contradict each other.
    """

    def __init__(self, start: dt.datetime | int = START, *, seed: int = 0, **settings: Any) -> None:
        self._start_ms = epoch_ms(start)
        self._seed = seed
        self._settings = settings
        self._stack = AsyncExitStack()
        #: The latest that the wall clock showed before it was stepped back.
        self._latest_ms = self._start_ms
        #: Every delivery that left the node so far, to whichever client, in order.
        self.deliveries: list[Delivered] = []

    async def __aenter__(self) -> Self:
        self._trio_clock = _mock_clock()
        self._nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._machine = Machine(
            self._nursery,
            self._settings,
            start_ms=self._start_ms,
            seed=self._seed,
            make_clock=self._make_clock,
        )
        self._machine.network.make_witness = self._make_witness
        try:
            await self._machine.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self._machine.stop()
        finally:
            await self._close()

    @property
    def now_ms(self) -> int:
        """What the wall clock of node and clients shows, epoch ms."""
        return self._machine.now_ms

    @asynccontextmanager
    async def connect(
        self,
        *,
        timeout: float = 10.0,  # noqa: ASYNC109 - not of this call: of each request of the client
        client_name: str | None = None,
    ) -> AsyncIterator[Client]:
        """A client of the real library; it and its consumers outlive a crash of the node.

        Arguments and errors are those of `chronosdb.client.connect`.
        """
        random = self._machine.random
        seams = Seams(lambda: self.now_ms, random.randbytes, random.random)
        async with connect(
            "broker:9000",
            timeout=timeout,
            client_name=client_name,
            stream_factory=self._machine.network.dial,
            seams=seams,
        ) as db:
            yield db

    async def advance(
        self,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        ms: float = 0,
    ) -> None:
        """Lets so much time pass; what falls due in it happens at its moment. See `advance_to`."""
        span = dt.timedelta(
            days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=ms
        )
        await self.advance_to(self.now_ms + span // _MILLISECOND)

    async def advance_to(self, when: dt.datetime | int) -> None:
        """Lets time pass until the wall clock shows `when`; returns when every task waits.

        Time stops at each moment that the node waits for. What your own tasks sleep for is noticed
        at the next such stop, and at `when`; to stop at those too, sleep until `when` yourself.

        Raises:
            ValueError: `when` is in the past.
            TypeError: a naive datetime.
        """
        when_ms = epoch_ms(when)
        if when_ms < self.now_ms:
            raise ValueError(
                f"{when} is {self.now_ms - when_ms} ms in the past: time only goes forward;"
                " step_clock() sets the wall clock back"
            )
        await wait_all_tasks_blocked()
        while (next_ms := self._clock.next_ms()) is not None and next_ms < when_ms:
            await self._leap_to(next_ms)
        await self._leap_to(when_ms)

    def step_clock(self, seconds: float) -> None:
        """Sets the wall clock forward, or back (negative), as an operator or NTP would.

        No time passes. The node notices at once.
        """
        self._latest_ms = max(self._latest_ms, self.now_ms)
        self._machine.wall.offset_ms += round(seconds * 1000)
        self._clock.wake()

    async def crash(self) -> None:
        """Cuts the power: connections break, and what was not synced to disk is lost.

        The node stays away until `restart`.
        """
        await self._machine.crash()

    async def restart(self) -> None:
        """Starts the node again: after a crash, or, if it runs, after a stop in order."""
        await self._machine.restart()

    def assert_never_early(self) -> None:
        """Fails if any delivery so far left the node before its event was due."""
        early = [delivered for delivered in self.deliveries if delivered.lateness_ms < 0]
        assert not early, (
            f"{len(early)} of {len(self.deliveries)} deliveries were early, the first of them"
            f" by {-early[0].lateness_ms} ms: {early[0]}"
        )

    def _make_clock(self, wall: WallClock) -> LeapingClock:
        self._clock = LeapingClock(wall)
        return self._clock

    def _make_witness(self) -> Witness:
        return Witness(lambda: max(self.now_ms, self._latest_ms), self.deliveries.append)

    async def _leap_to(self, when_ms: int) -> None:
        if when_ms - self.now_ms > _SILENCE_MS:
            for before_ms in _STOPS_BEFORE_MS:
                await self._jump_to(when_ms - before_ms)
        await self._jump_to(when_ms)

    async def _jump_to(self, when_ms: int) -> None:
        # More than once where a century of seconds, a float, leaves no room for microseconds.
        while (left_ns := when_ms * 1_000_000 - self._machine.wall()) > 0:
            self._trio_clock.jump(left_ns / 1e9)
        self._clock.wake()
        await wait_all_tasks_blocked()

    async def _close(self) -> None:
        # Nothing but the node runs in the nursery, and a node's errors are caught in there: so what
        # the test raised leaves this block as it is, not in an exception group.
        self._nursery.cancel_scope.cancel()
        await self._stack.aclose()


def _mock_clock() -> MockClock:
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock):
        raise RuntimeError(  # noqa: TRY004 - nobody passed it: it is how the program runs
            "Broker needs virtual time: take the fixture chronos_broker or autojump_clock in the"
            " test, or trio.run(..., clock=trio.testing.MockClock(autojump_threshold=0))"
        )
    return clock

"""Attempts within one deadline.

Every request of this protocol may be repeated: topics are created once, a publish carries its message
id, an ack names positions that never change. So one rule serves all: what is retryable is retried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import anyio

from chronosdb.client.backoff import Backoff
from chronosdb.wire.errors import ChronosError, Timeout

T = TypeVar("T")

#: Waits after an attempt that failed with an error, for up to so many seconds.
Pause: TypeAlias = Callable[[ChronosError, float], Awaitable[None]]


async def sleep(_error: ChronosError, delay_s: float) -> None:
    """The pause for which one error is as good as another."""
    await anyio.sleep(delay_s)


@dataclass(frozen=True, slots=True)
class Retry:
    """How long a request may take in all, and the waits between its attempts."""

    timeout_s: float
    backoff: Backoff
    unit: Callable[[], float]

    def delays_s(self) -> Iterator[float]:
        """The waits between attempts, in seconds, without end."""
        return self.backoff.delays_s(self.unit)

    async def run(self, attempt: Callable[[], Awaitable[T]], pause: Pause = sleep) -> T:
        """The result of the first attempt that succeeds.

        Raises:
            ChronosError: an attempt failed for good, or the last one before the deadline failed.
            Timeout: no attempt came to an end before the deadline.
        """
        last: ChronosError | None = None
        with anyio.move_on_after(self.timeout_s):
            for delay_s in self.delays_s():
                try:
                    return await attempt()
                except ChronosError as error:
                    if not error.retryable:
                        raise
                    last = error
                await pause(last, delay_s)
        raise last or Timeout(f"no answer within {self.timeout_s:g} s; the outcome is unknown")

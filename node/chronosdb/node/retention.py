"""Retention: looks now and then whether a partition's oldest segments may go, one partition at a time.

How they go is told in `partition/retirement.py`. Where nobody asked for it, nothing ever looks.
"""

from __future__ import annotations

from typing import Final

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.clock import Signal
from chronosdb.node.environment import Environment
from chronosdb.node.partition.retirement import Retirement

#: Segments wait after their time for at most about this share of it, within these bounds.
_SHARE: Final = 100
_INTERVAL_MIN_MS: Final = 60_000
_INTERVAL_MAX_MS: Final = 3_600_000


class Retention:
    """Deletes what a node need not keep any longer."""

    def __init__(self, env: Environment, broker: Broker) -> None:
        self._env = env
        self._broker = broker
        self._wake = Signal()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            limited = self._limited()
            for retirement in limited:
                await retirement.run(self._env.clock.now_ms())
                await trio.lowlevel.checkpoint()
            again_ms = self._env.clock.now_ms() + _interval_ms(limited) if limited else None
            await self._env.clock.wait(self._wake, again_ms)

    def wake(self) -> None:
        """There may be a partition with limits that there was not before."""
        self._wake.set()

    def _limited(self) -> list[Retirement]:
        """Of the partitions that do not keep everything for ever."""
        all_of_them = (partition.retirement for partition in self._broker.open_partitions())
        return [retirement for retirement in all_of_them if retirement.limits]


def _interval_ms(limited: list[Retirement]) -> int:
    shortest = min(retirement.patience_ms for retirement in limited)
    return min(max(shortest // _SHARE, _INTERVAL_MIN_MS), _INTERVAL_MAX_MS)

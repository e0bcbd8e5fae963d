"""Asks leaders to let somebody else have everything before he is elected in their place."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from chronosdb.node.controller.seats import Key, Seat
from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.node.replication.messages import BadMessage, Handover, decode, encode

logger = logging.getLogger(__name__)

#: Leaders that are ready wait for a second at most: who takes longer does not keep them waiting.
_TIMEOUT_S: Final = 0.5
_PAUSE_S: Final = 5.0


class Handovers:
    """The controller's questions to leaders that work well, and are to be relieved."""

    def __init__(self, me: str, calls: Calls) -> None:
        self._me = me
        self._calls = calls
        #: How this node itself is asked.
        self.here: Callable[[Handover], Awaitable[bool]] | None = None
        #: When to ask again for those where it was not so: trying holds up publishers.
        self._not_before_s: dict[Key, float] = {}

    async def prepare(self, seats: Sequence[Seat]) -> list[Seat]:
        """Those of `seats` whose heir is level, and whose leader waits for the election."""
        ready: list[Seat] = []
        now_s = trio.current_time()
        self._not_before_s = {key: s for key, s in self._not_before_s.items() if s > now_s}
        async with trio.open_nursery() as nursery:
            for seat in seats:
                if seat.key not in self._not_before_s:
                    nursery.start_soon(self._ask, seat, ready)
        return ready

    async def _ask(self, seat: Seat, ready: list[Seat]) -> None:
        level = False
        with trio.move_on_after(_TIMEOUT_S):
            try:
                level = await self._answer(seat)
            except (CallFailed, BadMessage) as error:
                logger.info("no handover of %s/%d: %s", seat.topic, seat.partition, error)
        if level:
            ready.append(seat)
        else:
            self._not_before_s[seat.key] = trio.current_time() + _PAUSE_S

    async def _answer(self, seat: Seat) -> bool:
        question = Handover(*seat.key, seat.epoch, seat.wanted)
        if seat.leader == self._me:
            return self.here is None or await self.here(question)
        return decode(await self._calls.ask(seat.leader, "handover", encode(question)), bool)

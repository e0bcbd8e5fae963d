"""Asks replicas to take nothing more of an old epoch, and how far they are: one call for each node."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final, TypeAlias

import trio

from chronosdb.node.controller.elections import Standing
from chronosdb.node.controller.seats import Key, Seat
from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.node.replication.messages import (
    FENCES_MAX,
    BadMessage,
    Fence,
    Fenced,
    decode,
    encode,
)

logger = logging.getLogger(__name__)

#: A promise costs the node one small write, and a look at each copy; who takes longer is not waited for.
_TIMEOUT_S: Final = 0.5
_PER_COPY_S: Final = 0.002

#: By partition and node.
Standings: TypeAlias = dict[Key, dict[str, Standing]]


class Fencing:
    """The controller's questions to the nodes that hold copies."""

    def __init__(self, me: str, calls: Calls) -> None:
        self._me = me
        self._calls = calls
        #: How this node itself is asked.
        self.here: Callable[[Fence], Awaitable[Fenced]] | None = None

    async def standings(self, seats: Iterable[Seat], nodes: Collection[str]) -> Standings:
        """What those of `nodes` answer that are in sync; a node that does not is left out."""
        wants: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for seat in seats:
            for node in seat.isr:
                if node in nodes:
                    wants[node].append((*seat.key, seat.next_epoch))
        found: Standings = defaultdict(dict)
        async with trio.open_nursery() as nursery:
            for node, rows in wants.items():
                for start in range(0, len(rows), FENCES_MAX):
                    part = rows[start : start + FENCES_MAX]
                    nursery.start_soon(self._ask, node, Fence(part), found)
        return found

    async def _ask(self, node: str, fence: Fence, found: Standings) -> None:
        asked = {(topic_id, partition) for topic_id, partition, _ in fence.wants}
        with trio.move_on_after(_TIMEOUT_S + _PER_COPY_S * len(asked)):
            fenced = await self._answer(node, fence)
            for topic_id, partition, last_epoch, end_lsn in fenced.standings:
                if (topic_id, partition) in asked:
                    found[topic_id, partition][node] = Standing(last_epoch, end_lsn)

    async def _answer(self, node: str, fence: Fence) -> Fenced:
        try:
            if node == self._me:
                return Fenced([]) if self.here is None else await self.here(fence)
            return decode(await self._calls.ask(node, "fence", encode(fence)), Fenced)
        except (CallFailed, BadMessage) as error:
            logger.info("node %s did not promise anything: %s", node, error)
            return Fenced([])

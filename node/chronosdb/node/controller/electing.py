"""Holds elections: fences the in-sync replicas, compares, and has the outcome committed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from chronosdb.node.controller.changes import alter
from chronosdb.node.controller.fencing import Fencing
from chronosdb.node.controller.fitness import Fitness
from chronosdb.node.controller.seats import Key, Seat, deserted, filled
from chronosdb.node.metadata import Metadata
from chronosdb.node.peers.calls import Calls
from chronosdb.raft import PartitionChange

logger = logging.getLogger(__name__)


class Elections:
    """One controller's."""

    def __init__(self, me: str, metadata: Metadata, calls: Calls) -> None:
        self._metadata = metadata
        self.fencing = Fencing(me, calls)
        #: Partitions that nobody could be elected for.
        self._vacant: frozenset[Key] = frozenset()
        #: Those an election is held for just now. What it does looks like a reason for another one:
        #: the leader that it fences says that it was refused.
        self._under_way: set[Key] = set()

    def is_under_way(self, seat: Seat) -> bool:
        """Whether somebody fills this seat already."""
        return seat.key in self._under_way

    async def hold(self, seats: Sequence[Seat], fitness: Fitness) -> None:
        """Fill these seats as far as possible, but for those that are being filled already."""
        free = [seat for seat in seats if not self.is_under_way(seat)]
        keys = {seat.key for seat in free}
        self._under_way |= keys
        try:
            await self._hold(free, fitness)
        finally:
            self._under_way -= keys

    async def _hold(self, seats: Sequence[Seat], fitness: Fitness) -> None:
        """Those who may lead are asked first.

        Others are waited for only where they are needed: most often they are dead.
        """
        standings = await self.fencing.standings(seats, fitness.able)
        outcomes = {seat: filled(seat, standings[seat.key], fitness) for seat in seats}
        open_ = [seat for seat, outcome in outcomes.items() if outcome is None]
        if open_:
            others = {node for seat in open_ for node in seat.isr} - fitness.able
            for key, more in (await self.fencing.standings(open_, others)).items():
                standings[key] |= more
            outcomes |= {seat: filled(seat, standings[seat.key], fitness) for seat in open_}
        elected = {seat: outcome for seat, outcome in outcomes.items() if outcome is not None}
        left = [seat for seat in seats if seat not in elected]
        await alter(self._metadata, [*elected.values(), *deserted(left, fitness)])
        self._tell(elected, left)

    def _tell(self, elected: Mapping[Seat, PartitionChange], left: Sequence[Seat]) -> None:
        if elected:
            leaders = Counter(one.leader for one in elected.values())
            shown = ", ".join(f"{node} of {count}" for node, count in sorted(leaders.items()))
            logger.info("elected to lead partitions: %s", shown)
        news = [seat for seat in left if seat.key not in self._vacant]
        self._vacant = (self._vacant | {seat.key for seat in left}) - {seat.key for seat in elected}
        if news:
            logger.warning(
                "%d partitions have no leader, such as %s/%d: too few of the in-sync replicas answer,"
                " %s",
                len(self._vacant),
                news[0].topic,
                news[0].partition,
                ", ".join(news[0].isr),
            )

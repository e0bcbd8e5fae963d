"""Brings partitions to their targets, leaderships to the preferred, and votes to those who should have one.

The controller's slow half: it plans, takes the next step of everything, and looks again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from chronosdb.node.controller import moving, plans
from chronosdb.node.controller.changes import alter, plan
from chronosdb.node.controller.electing import Elections
from chronosdb.node.controller.fitness import Fitness
from chronosdb.node.controller.handovers import Handovers
from chronosdb.node.controller.options import ControllerOptions
from chronosdb.node.controller.seats import Seat
from chronosdb.node.controller.voting import next_voter
from chronosdb.node.metadata import Metadata
from chronosdb.raft import ClusterView, NodeState
from chronosdb.wire.errors import ChronosError

logger = logging.getLogger(__name__)

_ROUND_S: Final = 0.25
#: Leaderships that change hands together, where it must be soon.
_TOGETHER: Final = 64
#: Between two attempts to change who votes, or who leads the metadata.
_VOTES_S: Final = 2.0


class Chief(Protocol):
    """What the mover wants of the controller."""

    elections: Elections

    @property
    def acts(self) -> bool:
        """See `Controller.acts`."""
        ...

    @property
    def fitness(self) -> Fitness:
        """See `Controller.fitness`."""
        ...

    def settled_s(self, node: str) -> float:
        """See `Controller.settled_s`."""
        ...

    def silence_s(self, node: str) -> float:
        """See `Controller.silence_s`."""
        ...


class Mover:
    """One controller's."""

    def __init__(
        self,
        me: str,
        *,
        metadata: Metadata,
        chief: Chief,
        handovers: Handovers,
        options: ControllerOptions,
    ) -> None:
        self._me = me
        self._metadata = metadata
        self._chief = chief
        self._handovers = handovers
        self._options = options
        #: What was last looked at and left nothing to do.
        self._seen: object = None
        #: When to think of votes again, and why they could not be changed last.
        self._votes_s = 0.0
        self._why = ""

    async def run(self) -> None:
        """Act while the controller does, until cancelled."""
        while True:
            if self._chief.acts:
                await self._look(self._metadata.view, self._chief.fitness)
                await self._vote(self._metadata.view, self._chief.fitness)
            await trio.sleep(_ROUND_S)

    async def _look(self, view: ClusterView, fitness: Fitness) -> None:
        settled, gone = self._settled(fitness), self._gone(view)
        sight = (view.version, fitness.able, fitness.willing, settled, gone)
        if sight == self._seen:
            return
        moves = plans.needed_moves(view, gone)
        await plan(self._metadata, moves)
        homes = plans.first_homes(view, fitness.willing)
        steps = moving.next_steps(view, fitness, self._options.moves_in_flight)
        await alter(self._metadata, [*homes, *steps.changes])
        seats = self._seats(view, fitness, settled, steps.handovers)
        await self._hand_over(seats, fitness)
        if not (moves or homes or steps.changes or seats):
            self._seen = sight

    def _seats(
        self,
        view: ClusterView,
        fitness: Fitness,
        settled: frozenset[str],
        handovers: Sequence[Seat],
    ) -> list[Seat]:
        """What must be soon, and as many of what is only nice as the pace allows."""
        urgent = {seat.key: seat for seat in moving.leaders_to_relieve(view, fitness)}
        urgent |= {seat.key: seat for seat in handovers}
        gentle = moving.leaders_to_return(view, fitness, settled)
        pace = max(1, round(self._options.returns_per_s * _ROUND_S))
        return [*list(urgent.values())[:_TOGETHER], *gentle[:pace]]

    async def _hand_over(self, seats: Sequence[Seat], fitness: Fitness) -> None:
        ready = await self._handovers.prepare(seats)
        if ready:
            await self._chief.elections.hold(ready, fitness)

    def _settled(self, fitness: Fitness) -> frozenset[str]:
        least_s = self._options.settled_ms / 1000
        return frozenset(n for n in fitness.willing if self._chief.settled_s(n) >= least_s)

    def _gone(self, view: ClusterView) -> frozenset[str]:
        """Nodes that are away for so long that what was to go there should go elsewhere."""
        fenced = (n.node for n in view.nodes.values() if n.state is NodeState.FENCED)
        most_s = self._options.gone_ms / 1000
        return frozenset(node for node in fenced if self._chief.silence_s(node) > most_s)

    async def _vote(self, view: ClusterView, fitness: Fitness) -> None:
        if trio.current_time() < self._votes_s:
            return
        self._votes_s = trio.current_time() + _VOTES_S
        try:
            heirs = [node for node in view.voters if node in fitness.willing]
            if self._me not in fitness.willing and heirs:
                logger.info("node %s leaves the metadata to %s", self._me, heirs[0])
                await self._metadata.transfer(heirs[0])
                return
            voter = next_voter(view, fitness, self._options.voters)
            if voter is not None:
                await self._metadata.change_voters(add=voter)
                logger.info("node %s votes from now on", voter)
        except ChronosError as error:
            if str(error) != self._why:
                self._why = str(error)
                logger.info("the voters stay as they are for now: %s", error)

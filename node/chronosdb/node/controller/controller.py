"""The controller: on whichever node leads the metadata, it sees to it that partitions have leaders.

It runs on every node and hears all heartbeats, so that the next one need not begin from nothing. It
acts, and grants leases, only where the metadata is led and a majority of voters follows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.controller.arrivals import awaited, can_wait
from chronosdb.node.controller.changes import submit_all
from chronosdb.node.controller.electing import Elections
from chronosdb.node.controller.fitness import Fitness, judge
from chronosdb.node.controller.handovers import Handovers
from chronosdb.node.controller.liveness import Liveness
from chronosdb.node.controller.messages import Granted, Heartbeat
from chronosdb.node.controller.mover import Mover
from chronosdb.node.controller.options import ControllerOptions
from chronosdb.node.controller.seats import Key, Seat, open_seats
from chronosdb.node.controller.skew import far_off
from chronosdb.node.environment import Environment
from chronosdb.node.metadata import Metadata
from chronosdb.node.peers.calls import Calls
from chronosdb.node.replication.messages import BadMessage, Fence, Fenced, Handover, decode, encode
from chronosdb.raft import NodeState, SetNodeState

logger = logging.getLogger(__name__)

#: How often silence is judged.
_ROUND_S: Final = 0.1
#: After the loop stood still for so long, nobody's silence meanwhile proves anything.
_STALL_S: Final = 0.3
#: Between two elections for one partition: neither an election without an outcome nor a leader that
#: fails at once may keep everybody busy.
_RETRY_S: Final = 0.25
#: Held at one time: the whole of a cluster that starts is too much for one question.
_ELECTIONS_MAX: Final = 256
#: Between two looks that were asked for: what comes together is looked at together.
_GATHER_S: Final = 0.005


class Copies(Protocol):
    """What this node holds of partitions."""

    async def fence(self, fence: Fence) -> Fenced:
        """Promise to take nothing more of old epochs; returns how far the copies are."""
        ...

    async def handover(self, handover: Handover) -> bool:
        """Let an heir have everything, and stop leading; whether that was done."""
        ...


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """What the controller knows of a node that is not in the metadata."""

    silent_ms: int
    #: How far its clock is ahead of this node's; None if it never said.
    ahead_ms: int | None
    #: Whether that is too far from the others.
    far_off: bool


class Controller:
    """One node's; it hears always, and acts while this node leads the metadata."""

    def __init__(
        self,
        env: Environment,
        me: str,
        metadata: Metadata,
        calls: Calls,
        options: ControllerOptions,
    ) -> None:
        self._env = env
        self._me = me
        self._metadata = metadata
        self._options = options
        self._liveness = Liveness(options.fence_s, trio.current_time())
        self.elections = Elections(me, metadata, calls)
        self._handovers = Handovers(me, calls)
        self._mover = Mover(
            me, metadata=metadata, chief=self, handovers=self._handovers, options=options
        )
        #: Nodes whose clock seems wrong, and since when.
        self._suspected_s: dict[str, float] = {}
        #: Those where it is so, and by how many milliseconds.
        self._far_off: dict[str, int] = {}
        #: Under which epoch a leader was refused by its followers.
        self._refused: dict[Key, int] = {}
        #: Whether a node can be spoken to, heard or not.
        self.reaches: Callable[[str], bool] = lambda _node: False
        self._wake = Signal()
        self._leads = False
        #: When the loop was last seen to run.
        self._ran_s = trio.current_time()
        #: What was last looked at and left nothing to do.
        self._seen: object = None
        #: When each partition's last election began, while it is not long ago, or had no outcome.
        self._held_s: dict[Key, float] = {}
        calls.serve("heartbeat", self._serve_heartbeat)

    def hold(self, copies: Copies) -> None:
        """This very node's copies are asked without a network; before `run`."""
        self.elections.fencing.here = copies.fence
        self._handovers.here = copies.handover

    @property
    def acts(self) -> bool:
        """Whether what this node decides is the cluster's: it leads, and is followed."""
        return self._metadata.is_leader and self._followed_s() > 0

    @property
    def fitness(self) -> Fitness:
        """Which nodes may lead, now."""
        return judge(self._metadata.view, self._liveness, self._far_off, trio.current_time())

    def settled_s(self, node: str) -> float:
        """How long a node has been heard without a gap; 0 if it is not."""
        heard = self._liveness.last(node)
        return trio.current_time() - heard.since_s if heard is not None else 0.0

    def silence_s(self, node: str) -> float:
        """How long a node has not been heard."""
        return self._liveness.silence_s(node, trio.current_time())

    def heard(self) -> dict[str, NodeHealth]:
        """All nodes that are not removed, as far as this one heard of them."""
        now_s = trio.current_time()
        readings = self._liveness.readings(now_s)
        return {
            node: NodeHealth(
                silent_ms=round(1000 * self._liveness.silence_s(node, now_s)),
                ahead_ms=-readings[node].ahead_ms if node in readings else None,
                far_off=node in self._far_off,
            )
            for node, info in self._metadata.view.nodes.items()
            if not info.has_left
        }

    def hear(self, node: str, beat: Heartbeat) -> Granted:
        """A node lives: note it, and say for how long it may lead."""
        self._liveness.hear(node, beat, trio.current_time())
        wall_ms = self._env.clock.now_ms()
        why = self._objection(node, beat)
        lease_ms = 0 if why else min(self._options.lease_ms, round(1000 * self._followed_s()))
        return Granted(lease_ms, wall_ms, why)

    def _objection(self, node: str, beat: Heartbeat) -> str:
        """Why a node may not lead; empty if it may."""
        if not self.acts:
            return "this node does not lead the metadata, or is not followed"
        self._note(beat)
        info = self._metadata.view.nodes.get(node)
        if info is None or info.incarnation != beat.incarnation:
            return "it is not registered in this life"
        if node in self._far_off:
            return f"its clock is {abs(self._far_off[node])} ms off the others'"
        if info.state is NodeState.FENCED:
            self._wake.set()
            return "it is fenced"
        return ""

    def _note(self, beat: Heartbeat) -> None:
        for topic_id, partition, epoch in beat.refused:
            if self._refused.get((topic_id, partition)) != epoch:
                self._refused[topic_id, partition] = epoch
                self._wake.set()
        if beat.resigns:
            self._wake.set()

    def _followed_s(self) -> float:
        """For how long from now this node surely is the only one that is followed."""
        now_s, voters = trio.current_time(), self._metadata.view.voters
        lease_s = self._options.lease_s
        return self._liveness.followed_until_s(self._me, voters, lease_s, now_s) - now_s

    async def run(self) -> None:
        """Act whenever this node leads, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_view)
            nursery.start_soon(self._notice_stalls)
            nursery.start_soon(self._mover.run)
            while True:
                await self._look()
                with trio.move_on_after(_ROUND_S):
                    await self._wake.wait()
                    await trio.sleep(_GATHER_S)

    async def _notice_stalls(self) -> None:
        while True:
            self._forgive_stall()
            self._ran_s = trio.current_time()
            await trio.sleep(_ROUND_S)

    def _forgive_stall(self) -> None:
        now_s = trio.current_time()
        if now_s - self._ran_s > _ROUND_S + _STALL_S:
            self._liveness.forgive(now_s)

    async def _follow_view(self) -> None:
        while True:
            changed = self._metadata.changed
            self._wake.set()
            await changed.wait()

    async def _look(self) -> None:
        if self._metadata.is_leader and not self._leads:
            self._liveness.took_charge(trio.current_time())
            self._seen = None
        self._leads = self._metadata.is_leader
        if not self.acts:
            return
        self._forgive_stall()
        self._judge_clocks()
        await self._mark(self.fitness)
        fitness = self.fitness
        self._forget_refusals()
        await self._fill_seats(fitness)

    async def _fill_seats(self, fitness: Fitness) -> None:
        view, now_s = self._metadata.view, trio.current_time()
        sight = (view.version, fitness.able, dict(self._refused))
        if sight == self._seen:
            return
        seats = open_seats(view, fitness, self._refused)
        coming = awaited(view, fitness, self._liveness, self.reaches, now_s)
        due = self._due([seat for seat in seats if not can_wait(seat, coming)], now_s)
        if due:
            await self.elections.hold(due, fitness)
        self._seen = None if seats else sight

    def _due(self, seats: Sequence[Seat], now_s: float) -> list[Seat]:
        """Those whose turn it is, and note that it was: whoever has waited longest comes first."""
        open_, before_s = {seat.key for seat in seats}, self._held_s
        held_s = {k: s for k, s in before_s.items() if now_s - s < _RETRY_S or k in open_}
        ready = [
            seat
            for seat in seats
            if now_s - held_s.get(seat.key, -inf) >= _RETRY_S
            and not self.elections.is_under_way(seat)
        ]
        due = sorted(ready, key=lambda seat: held_s.get(seat.key, -inf))[:_ELECTIONS_MAX]
        self._held_s = held_s | dict.fromkeys((seat.key for seat in due), now_s)
        return due

    def _judge_clocks(self) -> None:
        now_s, before = trio.current_time(), self._far_off
        readings = self._liveness.readings(now_s)
        found = far_off(readings, self._options.max_clock_skew_ms, self._suspected_s)
        self._suspected_s = {node: self._suspected_s.get(node, now_s) for node in found}
        # When this node's own clock steps, whoever reads it first seems to be the one that is off.
        sure_s = now_s - self._options.all_read_s
        self._far_off = {node: ms for node, ms in found.items() if self._suspected_s[node] < sure_s}
        for node in sorted(self._far_off.keys() - before.keys()):
            logger.warning(
                "node %s leads nothing: its clock is %d ms %s the others'; set it right",
                node,
                abs(self._far_off[node]),
                "ahead of" if self._far_off[node] > 0 else "behind",
            )
        for node in sorted(before.keys() - self._far_off.keys()):
            logger.info("node %s: its clock is right again", node)

    async def _mark(self, fitness: Fitness) -> None:
        """Have the metadata say who is fenced and who is alive."""
        commands = [
            SetNodeState(node.node, node.incarnation, state.value)
            for nodes, state in ((fitness.lost, NodeState.FENCED), (fitness.back, NodeState.ALIVE))
            for node in nodes
        ]
        for command in commands:
            silent_s = self._liveness.silence_s(command.node, trio.current_time())
            logger.info("node %s is %s, heard %.1f s ago", command.node, command.state, silent_s)
        await submit_all(self._metadata, commands)

    def _forget_refusals(self) -> None:
        """Of leaderships that are over."""
        if self._refused:
            epochs = {
                (topic.id, p): epoch
                for topic in self._metadata.view.topics.values()
                for p, epoch in enumerate(topic.epochs)
            }
            self._refused = {k: e for k, e in self._refused.items() if epochs.get(k, inf) <= e}

    async def _serve_heartbeat(self, peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        try:
            return encode(self.hear(peer, decode(body, Heartbeat)))
        except BadMessage as error:
            logger.warning("node %s: %s", peer, error)
            return encode(Granted(0, self._env.clock.now_ms(), "this is no heartbeat"))

"""Lets the controller hear of this node, and knows for how long it may lead."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Final, final

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.controller.controller import Controller
from chronosdb.node.controller.messages import REFUSED_MAX, Granted, Heartbeat, Reading
from chronosdb.node.controller.options import ControllerOptions
from chronosdb.node.environment import Environment
from chronosdb.node.metadata import Metadata
from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.node.replication.messages import BadMessage, decode, encode
from chronosdb.raft import NodeState
from chronosdb.wire.errors import ChronosError

logger = logging.getLogger(__name__)

#: Heartbeats to one node that wait for an answer; a node that is slow is not heaped upon.
_UNANSWERED_MAX: Final = 2
#: Without a lease there is nothing to do but to ask.
_EAGER_S: Final = 0.05


@final
class Heart:
    """One node's heartbeats and its lease. Implements `replication.assignment.LeaseView`."""

    def __init__(
        self,
        env: Environment,
        me: str,
        *,
        metadata: Metadata,
        calls: Calls,
        controller: Controller,
        options: ControllerOptions,
    ) -> None:
        self._env = env
        self._me = me
        self._metadata = metadata
        self._calls = calls
        self._controller = controller
        self._options = options
        self._incarnation = 0
        #: On the monotonic clock.
        self._until_s = float("-inf")
        self._resigns = False
        self._abstains = False
        #: (topic id, partition) → the epoch under which this node was refused.
        self._refused: dict[tuple[int, int], int] = {}
        self._readings: dict[str, Reading] = {}
        #: When each node that has not answered since was first asked.
        self._asked_s: dict[str, float] = {}
        self._unanswered: dict[str, int] = {}
        self._watchers: list[Callable[[bool], None]] = []
        self._wake = Signal()
        self._granted = Signal()
        self._why = ""

    @property
    def held(self) -> bool:
        """Whether this node may lead. Computed when asked: a process that stood still asks first."""
        return trio.current_time() < self._until_s

    def watch(self, on_change: Callable[[bool], None]) -> None:
        """Call this whenever `held` has changed, soon after."""
        self._watchers.append(on_change)

    def refused(self, topic_id: int, partition: int, epoch: int) -> None:
        """This node led a partition under `epoch`, and was refused: somebody promised a later one."""
        self._refused[topic_id, partition] = epoch
        self._wake.set()

    def abstain(self, abstains: bool) -> None:
        """While `abstains`, have others lead where they can; what nobody else can, this node does."""
        self._abstains = abstains
        self._wake.set()

    async def resign(self) -> None:
        """Have others lead what this node leads, the metadata first; returns when they do.

        What nobody else has in sync stays. May take for ever: whoever asks sets the deadline.
        """
        self._resigns = True
        self._wake.set()
        await self._leave_the_metadata()
        while True:
            changed = self._metadata.changed
            if not self._could_hand_over():
                return
            await changed.wait()

    async def run(self, incarnation: int) -> None:
        """Beat in the life of this number, until cancelled."""
        self._incarnation = incarnation
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_watchers)
            nursery.start_soon(self._greet_leaders)
            while True:
                for node in self._listeners():
                    if self._unanswered.get(node, 0) < _UNANSWERED_MAX:
                        nursery.start_soon(self._beat, node)
                with trio.move_on_after(self._pace_s()):
                    await self._wake.wait()

    def _pace_s(self) -> float:
        interval_s = self._options.heartbeat_interval_ms / 1000
        return interval_s if self.held else min(interval_s, _EAGER_S)

    def _listeners(self) -> list[str]:
        """Whoever leads the metadata, or may next: so it knows already who is there."""
        leader = self._metadata.leader
        return sorted({*self._metadata.view.voters, *([leader] if leader else [])})

    async def _greet_leaders(self) -> None:
        """A new one has waited for nothing so much as to be followed."""
        known = None
        while True:
            changed = self._metadata.changed
            if self._metadata.leader != known:
                known = self._metadata.leader
                self._wake.set()
            await changed.wait()

    async def _beat(self, node: str) -> None:
        self._unanswered[node] = self._unanswered.get(node, 0) + 1
        try:
            with trio.move_on_after(self._options.lease_s):
                await self._exchange(node)
        except (CallFailed, BadMessage) as error:
            logger.debug("no answer to a heartbeat: %s", error)
        finally:
            self._unanswered[node] -= 1

    async def _exchange(self, node: str) -> None:
        sent_s, sent_ms = trio.current_time(), self._env.clock.now_ms()
        beat = self._heartbeat(node)
        if node == self._me:
            answer = self._controller.hear(node, beat)
        else:
            answer = decode(await self._calls.ask(node, "heartbeat", encode(beat)), Granted)
        round_trip_ms = round(1000 * (trio.current_time() - sent_s))
        # Their clock was read at some moment between: in the middle, give or take the half of it.
        middle_ms = sent_ms + round_trip_ms // 2
        self._asked_s.pop(node, None)
        self._readings[node] = Reading(answer.wall_ms - middle_ms, round_trip_ms // 2 + 1)
        self._take(node, answer, sent_s)

    def _heartbeat(self, node: str) -> Heartbeat:
        now_s = trio.current_time()
        return Heartbeat(
            self._incarnation,
            self._metadata.leader or "",
            self._readings.get(node),
            round(1000 * (now_s - self._asked_s.setdefault(node, now_s))),
            self._resigns or self._abstains,
            self._still_refused(),
        )

    def _still_refused(self) -> list[tuple[int, int, int]]:
        """Those for which nobody was elected since."""
        if not self._refused:
            return []
        led = {
            (topic.id, p): topic.epochs[p]
            for topic in self._metadata.view.topics.values()
            for p in range(topic.partitions)
        }
        self._refused = {key: e for key, e in self._refused.items() if led.get(key, inf) <= e}
        return [(*key, epoch) for key, epoch in self._refused.items()][:REFUSED_MAX]

    def _take(self, node: str, answer: Granted, sent_s: float) -> None:
        if answer.lease_ms:
            self._until_s = max(self._until_s, sent_s + answer.lease_ms / 1000)
            self._why = ""
            self._granted.set()
        elif node == self._metadata.leader and answer.why != self._why:
            self._why = answer.why
            logger.info("node %s has no lease from %s: %s", self._me, node, answer.why)

    async def _tell_watchers(self) -> None:
        told = False
        while True:
            if self.held != told:
                told = not told
                logger.info("node %s %s", self._me, "may lead" if told else "has lost its lease")
                for on_change in self._watchers:
                    on_change(told)
            if told:
                await trio.sleep_until(self._until_s)
            else:
                await self._granted.wait()

    async def _leave_the_metadata(self) -> None:
        view = self._metadata.view
        for voter in view.voters:
            node = view.nodes.get(voter)
            alive = node is not None and node.state is NodeState.ALIVE
            if self._metadata.is_leader and voter != self._me and alive:
                try:
                    await self._metadata.transfer(voter)
                except ChronosError as error:
                    logger.info("%s does not take the metadata over: %s", voter, error)

    def _could_hand_over(self) -> bool:
        """Whether anything that is led here could be led elsewhere."""
        view = self._metadata.view
        others = {n.node for n in view.nodes.values() if n.state is NodeState.ALIVE} - {self._me}
        return any(
            leader == self._me and not others.isdisjoint(topic.isrs[p])
            for topic in view.topics.values()
            for p, leader in enumerate(topic.leaders)
        )

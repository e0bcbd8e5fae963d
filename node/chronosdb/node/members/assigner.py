"""Gives the partitions of ordered groups to members, on the node that leads the metadata.

Every node reports the members attached to it; the assignment is one command of the metadata for each
group whose members have changed. Nobody assigns before all nodes have reported, or had the time to: whoever
begins to lead would else take partitions from members that it has not heard of yet. While nobody
leads, assignments stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from chronosdb.node.clock import Signal
from chronosdb.node.members.fair_shares import fair_shares
from chronosdb.node.members.register import SILENCE_S, Register
from chronosdb.node.members.reports import (
    METHOD,
    GroupKey,
    Reception,
    Report,
    decode_report,
    encode_reception,
)
from chronosdb.node.metadata import Metadata
from chronosdb.node.peers.calls import Calls
from chronosdb.raft import GroupInfo, NodeState, PutAssignment, TopicInfo
from chronosdb.wire.errors import ChronosError

logger = logging.getLogger(__name__)

#: Changes of members gather for so long: a hundred members that come at once cost a few commands.
_GATHER_S: Final = 0.1
#: Silence, and patience that has run out, are noticed within so long.
_LOOK_S: Final = 0.5
#: Commands on their way at one time.
_AT_ONCE: Final = 16

#: All that the assignment of a group follows from.
_Facts = tuple[frozenset[str], GroupInfo, tuple[str, ...], tuple[tuple[str, frozenset[str]], ...]]


class Assigner:
    """Assigns while `acts()`: while this node leads the metadata, and has a lease."""

    def __init__(self, metadata: Metadata, calls: Calls, acts: Callable[[], bool]) -> None:
        self._metadata = metadata
        self._acts = acts
        self._register = Register()
        #: Since when this node acts; None: it does not.
        self._since_s: float | None = None
        #: By group, what its present assignment was found right for.
        self._right: dict[GroupKey, _Facts] = {}
        self._commands = trio.CapacityLimiter(_AT_ONCE)
        self._wake = Signal()
        calls.serve(METHOD, self._serve)

    def take(self, node: str, report: Report) -> Reception:
        """A node's members, as it says."""
        if not self._acts():
            return Reception.NOT_MINE
        reception = self._register.take(node, report, trio.current_time())
        if self._register.changed:
            self._wake.set()
        return reception

    async def run(self) -> None:
        """Assign, for ever."""
        while True:
            with trio.move_on_after(_LOOK_S):
                await self._wake.wait()
            if not self._acts():
                self._since_s = None
                self._register = Register()
                self._right.clear()
                continue
            try:
                await self._look()
            except ChronosError as error:
                logger.info("members are not assigned now: %s", error)
            await trio.sleep(_GATHER_S)

    async def _look(self) -> None:
        """Assign every group whose members, or their reach, have changed."""
        if self._since_s is None:
            await self._metadata.read()  # What an earlier leader assigned.
            self._since_s = trio.current_time()
        now_s = trio.current_time()
        nodes = self._metadata.view.nodes
        silenced = {NodeState.FENCED, NodeState.LEFT}
        gone = [name for name, node in nodes.items() if node.state in silenced]
        self._register.forget_silent(now_s, gone)
        self._register.changed.clear()
        if not self._register.heard_of(nodes.keys() - gone) and now_s - self._since_s < SILENCE_S:
            return
        groups = self._register.groups()
        for key in sorted(self._right.keys() - set(groups)):
            del self._right[key]
        async with trio.open_nursery() as nursery:
            for key in groups:
                command = self._command(key, now_s)
                if command is not None:
                    nursery.start_soon(self._submit, command)

    def _command(self, key: GroupKey, now_s: float) -> PutAssignment | None:
        """What makes the assignment of a group right; None: it is, or there is no such group yet."""
        view = self._metadata.view
        topic, group = view.topics.get(key[0]), view.groups.get(key)
        if topic is None or group is None or group.mode != "ordered":
            return None
        members = self._register.members(key)
        late = self._register.missing(key, set(topic.leaders) - {""}, now_s)
        reach = tuple((node, frozenset(names)) for node, names in sorted(late.items()))
        facts = (frozenset(members), group, topic.leaders, reach)
        if self._right.get(key) == facts:
            return None
        current = dict(enumerate(group.owners))
        shares = fair_shares(topic.leaders, members, current, late)
        if shares == current:
            self._right[key] = facts
            return None
        return _assignment(topic, group, shares)

    async def _submit(self, command: PutAssignment) -> None:
        async with self._commands:
            try:
                await self._metadata.submit(command)
            except ChronosError as error:
                # The group is gone, or somebody else leads now. Else the next look tries again.
                logger.info("group %s of %s: %s", command.group, command.topic, error)
            else:
                logger.info(
                    "group %s of topic %s: its partitions are with %d members",
                    command.group,
                    command.topic,
                    len(command.members),
                )

    async def _serve(self, peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        try:
            report = decode_report(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            logger.warning("node %s reports its members in bytes that say nothing: %s", peer, error)
            return encode_reception(Reception.NOT_MINE)
        return encode_reception(self.take(peer, report))


def _assignment(topic: TopicInfo, group: GroupInfo, shares: dict[int, str]) -> PutAssignment:
    members = tuple(sorted(set(shares.values())))
    number = {name: i for i, name in enumerate(members)}
    owners = tuple(number[shares[p]] for p in range(topic.partitions))
    return PutAssignment(topic.name, group.group, group.generation, members, owners)

"""The groups of a cluster: each node answers for the partitions that it leads, one puts it together.

A change (reset, delete) first claims the group at every node, so that nobody joins it anywhere; then the
leaders change it, partition by partition, until all have; then the metadata. Each step may be
repeated. Whatever fails in the middle, claims end by themselves, and a group that is half deleted is
still listed and can be deleted again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import trio

from chronosdb.node import group_parts
from chronosdb.node.broker import Broker
from chronosdb.node.clock import Clock
from chronosdb.node.consumers import Consumers
from chronosdb.node.fanout import messages as f
from chronosdb.node.fanout.fanout import Fanout
from chronosdb.node.groups import OR_FORCE, refuse_consumers
from chronosdb.node.groups_here import GroupsHere, refuse_members
from chronosdb.raft import GroupInfo as Known
from chronosdb.raft.view import NOBODY
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, Overloaded
from chronosdb.wire.messages import GroupInfo, GroupMove, GroupSummary

logger = logging.getLogger(__name__)

#: A claim that nobody renews or releases ends after this.
_CLAIM_MS: Final = 15_000
#: All partitions must have been changed in so long, whoever leads them meanwhile.
_CHANGE_S: Final = 8.0
_RETRY_S: Final = 0.2
_RELEASE_S: Final = 1.0

A = TypeVar("A", bound=m.Message)


class GroupsEverywhere:
    """Implements `AnyGroups`. Every node of a cluster has one, and any of them may be asked."""

    def __init__(
        self, broker: Broker, consumers: Consumers, here: GroupsHere, fanout: Fanout, clock: Clock
    ) -> None:
        self._broker = broker
        self._consumers = consumers
        self._here = here
        self._fanout = fanout
        self._clock = clock
        self._changes = 0
        fanout.answer(f.ListGroupParts, self._serve_parts)
        fanout.answer(m.DescribeGroup, self._serve_describe)
        fanout.answer(f.ClaimGroup, self._serve_claim)
        fanout.answer(f.ReleaseGroup, self._serve_release)
        fanout.answer(f.MoveGroup, self._serve_move)
        fanout.answer(f.EndGroup, self._serve_end)

    async def summaries(self, topic: str) -> list[GroupSummary]:
        """See `AnyGroups.summaries`; what nobody answers for is counted as unknown."""
        await self._broker.known(lambda: self._broker.topic(topic))
        parts = _answered(await self._fanout.everyone(f.ListGroupParts(topic), f.GroupParts))
        info = self._broker.topic(topic)
        groups = self._broker.groups(topic)
        return group_parts.summaries(groups, info.partitions, parts.values())

    async def describe(self, topic: str, name: str) -> GroupInfo:
        """See `AnyGroups.describe`; what nobody answers for is listed as unknown."""
        info = await self._known(topic, name)
        question = m.DescribeGroup(f.NO_REQUEST, topic, name)
        parts = _answered(await self._fanout.everyone(question, m.GroupReply))
        partitions = self._broker.topic(topic).partitions
        groups = {node: reply.group for node, reply in parts.items()}
        return group_parts.group(info, partitions, groups)

    async def reset(
        self, topic: str, name: str, to: str | int, *, dry_run: bool, force: bool
    ) -> Sequence[GroupMove]:
        """See `AnyGroups.reset`."""
        await self._known(topic, name)
        if dry_run:
            return await self._move(topic, name, to, "", dry_run=True)
        return await self._broker.to_the_end(partial(self._reset, topic, name, to, force=force))

    async def delete(self, topic: str, name: str) -> None:
        """See `AnyGroups.delete`."""
        await self._known(topic, name)
        await self._broker.to_the_end(partial(self._delete, topic, name))

    async def delete_topic(self, topic: str) -> None:
        """See `AnyGroups.delete_topic`. A node that does not answer has no consumers to be asked."""
        await self._broker.known(lambda: self._broker.topic(topic))
        parts = _answered(await self._fanout.everyone(f.ListGroupParts(topic), f.GroupParts))
        refuse_consumers(topic, group_parts.consumed(parts.values()))
        await self._broker.delete_topic(topic)
        self._consumers.forget(topic)

    async def _reset(self, topic: str, name: str, to: str | int, *, force: bool) -> list[GroupMove]:
        async with self._claimed(topic, name, OR_FORCE, force=force) as token:
            moves = await self._move(topic, name, to, token, dry_run=False)
        logger.info("group %s of topic %s begins again at %s", name, topic, to)
        return moves

    async def _delete(self, topic: str, name: str) -> None:
        async with self._claimed(topic, name, "", force=False) as token:
            await self._in_all(
                topic,
                lambda left: f.EndGroup(topic, name, token, left),
                f.GroupEnded,
                lambda reply: reply.partitions,
            )
            # The metadata may take their time, too.
            await self._claim(topic, name, "", token, force=False)
            await self._broker.delete_group(topic, name)
        logger.info("group %s of topic %s was deleted", name, topic)

    async def _move(
        self, topic: str, name: str, to: str | int, token: str, *, dry_run: bool
    ) -> list[GroupMove]:
        replies = await self._in_all(
            topic,
            lambda left: f.MoveGroup(topic, name, token or "none", left, to, dry_run),
            m.GroupMoved,
            lambda reply: [move.partition for move in reply.moves],
        )
        moves = {move.partition: move for reply in replies for move in reply.moves}
        return [move for _, move in sorted(moves.items())]

    @asynccontextmanager
    async def _claimed(
        self, topic: str, name: str, otherwise: str, *, force: bool
    ) -> AsyncIterator[str]:
        """While the block runs, nobody joins the group; the token of the claim.

        Raises:
            Conflict: it has members, and not `force`.
            Overloaded: somebody else has claimed it, or a leader does not answer.
        """
        self._changes += 1
        token = f"{self._fanout.me}/{self._clock.now_ms()}/{self._changes}"
        try:
            await self._claim(topic, name, otherwise, token, force=force)
            yield token
        finally:
            with trio.move_on_after(_RELEASE_S, shield=True):
                await self._fanout.everyone(f.ReleaseGroup(topic, name, token), m.Done)

    async def _claim(
        self, topic: str, name: str, otherwise: str, token: str, *, force: bool
    ) -> None:
        question = f.ClaimGroup(topic, name, token, _CLAIM_MS, force)
        leaders = self._broker.topic(topic).leaders
        members: set[str] = set()
        for node, answer in (await self._fanout.everyone(question, f.Claimed)).items():
            if not isinstance(answer, ChronosError):
                members.update(answer.members)
            elif isinstance(answer, Overloaded) or node in leaders:
                raise answer
        if not force:
            refuse_members(name, len(members), otherwise)

    async def _in_all(
        self,
        topic: str,
        question: Callable[[list[int]], m.Message],
        answer: type[A],
        done: Callable[[A], Iterable[int]],
    ) -> list[A]:
        """What the leaders answer, asked until each partition is done, by its leader of then.

        Raises:
            ChronosError: one that will not pass, or the last one when time is over.
        """
        replies: list[A] = []
        left = set(range(self._broker.topic(topic).partitions))
        trouble: ChronosError = Overloaded(f"topic {topic!r} has partitions without a leader now")
        deadline_s = trio.current_time() + _CHANGE_S
        while left:
            leaders = self._broker.topic(topic).leaders
            nodes = sorted({leaders[p] for p in left} - {NOBODY})
            for reply in (await self._fanout.each(nodes, question(sorted(left)), answer)).values():
                if not isinstance(reply, ChronosError):
                    left.difference_update(done(reply))
                    replies.append(reply)
                elif reply.retryable:
                    trouble = reply
                else:
                    raise reply
            if left and trio.current_time() >= deadline_s:
                raise trouble
            if left:
                await trio.sleep(_RETRY_S)
        return replies

    async def _known(self, topic: str, name: str) -> Known:
        """One group, also when this node has not heard of it yet; raises NotFound."""
        return await self._broker.known(lambda: self._broker.group(topic, name))

    async def _serve_parts(self, _peer: str, message: f.ListGroupParts) -> f.GroupParts:
        await trio.lowlevel.checkpoint()
        return self._here.parts(message.topic)

    async def _serve_describe(self, _peer: str, message: m.DescribeGroup) -> m.GroupReply:
        await trio.lowlevel.checkpoint()
        return m.GroupReply(f.NO_REQUEST, self._here.describe(message.topic, message.group))

    async def _serve_claim(self, peer: str, message: f.ClaimGroup) -> f.Claimed:
        key = (message.topic, message.group)
        async with self._consumers.alone(*key):  # after whoever joins now
            members = list(self._consumers.members(*key))
            if message.force or not members:
                stays = partial(self._fanout.stays, peer)
                self._consumers.claims.put(key, message.token, message.for_ms / 1000, stays)
        return f.Claimed(members)

    async def _serve_release(self, _peer: str, message: f.ReleaseGroup) -> m.Done:
        await trio.lowlevel.checkpoint()
        self._consumers.claims.release((message.topic, message.group), message.token)
        return m.Done(f.NO_REQUEST)

    async def _serve_move(self, _peer: str, message: f.MoveGroup) -> m.GroupMoved:
        key = (message.topic, message.group)
        if message.dry_run:
            moves = [move for _, move in self._here.moves(*key, message.to, message.partitions)]
            return m.GroupMoved(f.NO_REQUEST, moves)
        async with self._consumers.alone(*key):
            self._consumers.claims.check_held(key, message.token)
            moves = await self._here.reset(*key, message.to, message.partitions)
        return m.GroupMoved(f.NO_REQUEST, moves)

    async def _serve_end(self, _peer: str, message: f.EndGroup) -> f.GroupEnded:
        key = (message.topic, message.group)
        async with self._consumers.alone(*key):
            self._consumers.claims.check_held(key, message.token)
            return f.GroupEnded(await self._here.end(*key, message.partitions))


def _answered(answers: dict[str, A | ChronosError]) -> dict[str, A]:
    """What nodes answered; raises the error of one if all of them failed."""
    found = {node: a for node, a in answers.items() if not isinstance(a, ChronosError)}
    if not found:
        raise next(
            (a for a in answers.values() if isinstance(a, ChronosError)),
            Overloaded("no node can be asked now; try again"),
        )
    return found

"""Groups as an operator sees them: how far they are and who is in them; reset, and deleted.

Resetting and deleting write one GROUP record per partition, which replaces everything that was known
of the group there. The metadata forgets a deleted group only after all partitions have: a crash in
between leaves a group that is still listed, and that can be deleted again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from chronosdb.node.broker import Broker
from chronosdb.node.consumers import Consumers
from chronosdb.node.groups_here import GroupsHere
from chronosdb.wire.errors import Conflict
from chronosdb.wire.messages import GroupInfo, GroupMove, GroupSummary

logger = logging.getLogger(__name__)

OR_FORCE = "or say force: they will be sent events again"


class AnyGroups(Protocol):
    """The groups of a node, alone or in a cluster, as an operator handles them."""

    async def summaries(self, topic: str) -> list[GroupSummary]:
        """The groups of a topic, by name; raises NotFound."""
        ...

    async def describe(self, topic: str, name: str) -> GroupInfo:
        """One group.

        Raises:
            NotFound: no such topic or group.
            DamagedRecord: an event's bytes on disk are not what was written.
        """
        ...

    async def reset(
        self, topic: str, name: str, to: str | int, *, dry_run: bool, force: bool
    ) -> Sequence[GroupMove]:
        """Let a group begin again, at "earliest", "latest", or with what fired at a time or later.

        Raises:
            NotFound: no such topic or group.
            Conflict: it has members, and `force` was not said.
            Overloaded: a partition has no leader, or somebody else changes the group now.
        """
        ...

    async def delete(self, topic: str, name: str) -> None:
        """Forget a group: one of that name that is made later begins anew.

        Raises:
            NotFound: no such topic or group.
            Conflict: it has members.
            Overloaded: as `reset`.
        """
        ...

    async def delete_topic(self, topic: str) -> None:
        """Delete a topic, its groups, its events.

        Raises:
            NotFound: no such topic.
            Conflict: it has consumers.
        """
        ...


class Groups:
    """Implements `AnyGroups` for a node that is alone."""

    def __init__(self, broker: Broker, consumers: Consumers, here: GroupsHere) -> None:
        self._broker = broker
        self._consumers = consumers
        self._here = here

    async def summaries(self, topic: str) -> list[GroupSummary]:
        """See `AnyGroups.summaries`."""
        parts = {part.name: part for part in self._here.parts(topic).groups}
        return [
            GroupSummary(
                info.group,
                info.mode,
                info.created_ms,
                len(parts[info.group].members),
                parts[info.group].lag,
            )
            for info in self._broker.groups(topic)
        ]

    async def describe(self, topic: str, name: str) -> GroupInfo:
        """See `AnyGroups.describe`."""
        info = self._broker.group(topic, name)
        return replace(self._here.describe(topic, name), mode=info.mode, created_ms=info.created_ms)

    async def reset(
        self, topic: str, name: str, to: str | int, *, dry_run: bool, force: bool
    ) -> Sequence[GroupMove]:
        """See `AnyGroups.reset`."""
        self._broker.group(topic, name)
        if dry_run:
            return [move for _, move in self._here.moves(topic, name, to)]
        return await self._broker.to_the_end(partial(self._reset, topic, name, to, force=force))

    async def delete(self, topic: str, name: str) -> None:
        """See `AnyGroups.delete`."""
        await self._broker.to_the_end(partial(self._delete, topic, name))

    async def delete_topic(self, topic: str) -> None:
        """See `AnyGroups.delete_topic`."""
        refuse_consumers(topic, self._consumers.groups_with_members(topic))
        await self._broker.delete_topic(topic)
        self._consumers.forget(topic)

    async def _reset(self, topic: str, name: str, to: str | int, *, force: bool) -> list[GroupMove]:
        async with self._consumers.alone(topic, name):
            self._broker.group(topic, name)
            if not force:
                self._here.refuse_members(topic, name, OR_FORCE)
            moves = await self._here.reset(topic, name, to)
        logger.info("group %s of topic %s begins again at %s", name, topic, to)
        return moves

    async def _delete(self, topic: str, name: str) -> None:
        async with self._consumers.alone(topic, name):
            self._broker.group(topic, name)
            self._here.refuse_members(topic, name, "")
            await self._here.end(topic, name)
            await self._broker.delete_group(topic, name)
        logger.info("group %s of topic %s was deleted", name, topic)


def refuse_consumers(topic: str, groups: Sequence[str]) -> None:
    """Raises Conflict when there are `groups` that consume a topic."""
    if groups:
        raise Conflict(
            f"topic {topic!r} is being consumed by group {', '.join(groups[:5])}: stop the"
            " consumers first"
        )

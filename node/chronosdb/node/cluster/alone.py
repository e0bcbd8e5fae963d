"""A node alone: a cluster of one."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.cluster.member import Administration, Duties
from chronosdb.node.cluster.overview import Overview, Readings
from chronosdb.node.consumers import Consumers
from chronosdb.node.environment import Environment
from chronosdb.node.groups import Groups
from chronosdb.node.groups_here import GroupsHere
from chronosdb.node.holding.everything import Everything
from chronosdb.node.holding.opener import Opener
from chronosdb.node.identity import Identity
from chronosdb.node.metadata import Metadata
from chronosdb.node.observe.figure import Figure
from chronosdb.node.recurring.schedules import Schedules
from chronosdb.raft import BumpEpochs, RegisterNode


class Alone:
    """Implements `Member`."""

    def __init__(
        self, env: Environment, identity: Identity, opener: Opener, directory: str
    ) -> None:
        self._env = env
        self._node_id = identity.node_id
        self.cluster_id = identity.cluster_id
        self.metadata = Metadata(env, directory, identity.node_id)
        self.holding = Everything(env, identity.node_id, self.metadata, opener)
        self.fanout = None

    def duties(self, broker: Broker) -> Duties:
        """See `Member.duties`."""
        consumers = Consumers(broker)
        groups = Groups(broker, consumers, GroupsHere(broker, consumers, self._env.clock))
        return Duties(consumers, groups, Schedules(self._env, self.metadata, broker))

    def administration(self) -> Administration:
        """See `Member.administration`."""
        overview = Overview(
            self.cluster_id, self._node_id, metadata=self.metadata, readings=Readings(), fanout=None
        )
        return Administration(overview, operations=None)

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """See `Member.run`."""
        await self.metadata.run(task_status)

    async def begin_life(self, address: str) -> None:
        """See `Member.begin_life`."""
        known = self.metadata.view.nodes.get(self._node_id)
        # Counted, not timed: after a clock step back this life would seem older than the last.
        incarnation = 1 if known is None else known.incarnation + 1
        await self.metadata.submit(RegisterNode(self._node_id, address, incarnation))
        await self.metadata.submit(BumpEpochs(self._node_id))

    async def be_counted(self) -> None:
        """See `Member.be_counted`: nobody does."""

    def may_lead(self) -> bool:
        """See `Member.may_lead`."""
        return True

    async def figures(self) -> Sequence[Figure]:
        """See `Member.figures`."""
        return ()

    async def run_duties(self) -> None:
        """See `Member.run_duties`: there is nobody to share them with."""

    async def hand_over(self) -> None:
        """See `Member.hand_over`: there is nobody."""

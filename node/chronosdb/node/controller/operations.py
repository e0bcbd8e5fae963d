"""What operators do with a cluster, asked of any node. Each is safe to ask again; progress is in the view.

They only note what is wanted. The controller does it, whichever node that is by then.
"""

from __future__ import annotations

from chronosdb.node.controller import plans
from chronosdb.node.controller.changes import in_batches
from chronosdb.node.metadata import Metadata
from chronosdb.raft import (
    AdmitNode,
    AlterPartitions,
    ClusterView,
    Move,
    NodeInfo,
    NodeState,
    PartitionChange,
    PlanMoves,
    RemoveNode,
    SetNodeState,
    SetReplication,
    TopicInfo,
)
from chronosdb.wire.errors import Conflict, InvalidArgument, NotFound


class Operations:
    """Those of one node's metadata. All raise ChronosError with what to do."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    async def add_node(self, node: str, peer_address: str, rack: str = "") -> None:
        """Let a node in that is reached at `peer_address`; it may be started before or after.

        Raises:
            Conflict: a node of that name was removed.
        """
        await self._metadata.submit(AdmitNode(node, peer_address, rack))

    async def drain_node(self, node: str) -> int:
        """Have a node give away what it leads and holds; returns how many partitions it still holds.

        Raises:
            NotFound: there is no such node.
        """
        await self._set_state(node, NodeState.DRAINING)
        return plans.holdings(self._metadata.view, node)

    async def undrain_node(self, node: str) -> None:
        """Let a node keep what it still has, and get more. Raises NotFound."""
        if (await self._node(node)).state is NodeState.DRAINING:
            await self._set_state(node, NodeState.ALIVE)

    async def remove_node(self, node: str, *, force: bool = False) -> int:
        """Remove a node for good; returns how many partitions it still holds: 0, and it is removed.

        Otherwise it is being drained: ask again. With `force` what it holds is given up: for a node
        that never comes back. Partitions of which it alone had everything lose that.

        Raises:
            Conflict: its partitions have nowhere to go, or it cannot be spared as a voter now.
        """
        view = await self._metadata.read()
        info = view.nodes.get(node)
        if info is not None and info.has_left:
            return 0
        if plans.holdings(view, node):
            await (self._evacuate(view, node) if force else self._drain_to_remove(view, node))
            view = self._metadata.view
            if plans.holdings(view, node):
                return plans.holdings(view, node)
        await self._take_vote(view, node)
        await self._metadata.submit(RemoveNode(node))
        return 0

    async def _drain_to_remove(self, view: ClusterView, node: str) -> None:
        stuck = plans.immovable(view, node)
        if stuck is not None:
            raise Conflict(
                f"topic {stuck.name!r} keeps {len(stuck.replicas[0])} copies, and there are not so"
                f" many other nodes alive: add a node, lower its replication, or use force if"
                f" {node} is gone for good"
            )
        await self._set_state(node, NodeState.DRAINING)

    async def _evacuate(self, view: ClusterView, node: str) -> None:
        if node in view.nodes:
            await self._set_state(node, NodeState.DRAINING)
        moves, losses = plans.evacuated(view, node)
        for command in in_batches(PlanMoves, moves):
            await self._metadata.submit(command)
        for command in in_batches(AlterPartitions, losses):
            await self._metadata.submit(command)

    async def _take_vote(self, view: ClusterView, node: str) -> None:
        if node not in view.voters:
            return
        if self._metadata.leader == node:
            await self.transfer_metadata(self._heir(view, node))
        await self._metadata.change_voters(remove=node)

    def _heir(self, view: ClusterView, node: str) -> str:
        for voter in view.voters:
            info = view.nodes.get(voter)
            if voter != node and info is not None and info.state is NodeState.ALIVE:
                return voter
        raise Conflict(f"{node} is the only voter that is alive: add a node first")

    async def transfer_metadata(self, to: str) -> None:
        """Have another voter lead the metadata. Raises Timeout if it does not come to that."""
        await self._metadata.transfer(to)

    async def transfer_partition(self, topic: str, partition: int, to: str) -> None:
        """Prefer a replica as the leader from now on: it leads as soon as it is in sync.

        Raises:
            NotFound: there is no such partition.
            InvalidArgument: it holds no copy.
        """
        info = await self._partition(topic, partition)
        replicas = info.target(partition) or info.replicas[partition]
        if to not in replicas:
            raise InvalidArgument(
                f"{to} holds no copy of {topic}/{partition}; {', '.join(replicas)} do"
            )
        target = (to, *(node for node in replicas if node != to))
        await self._metadata.submit(PlanMoves((Move(topic, partition, target),)))

    async def rebalance(self) -> int:
        """Spread all partitions over the nodes that are alive; returns how many are to move."""
        moves = plans.rebalanced(await self._metadata.read())
        for command in in_batches(PlanMoves, moves):
            await self._metadata.submit(command)
        return plans.unfinished(self._metadata.view)

    async def cancel_moves(self) -> None:
        """Leave partitions where they are, new copies that are under way too. Drains go on."""
        view = await self._metadata.read()
        moves = [
            Move(topic.name, p, ())
            for topic in view.topics.values()
            for p, target in enumerate(topic.targets)
            if target
        ]
        for command in in_batches(PlanMoves, moves):
            await self._metadata.submit(command)

    async def set_replication(self, topic: str, replication: int) -> None:
        """Have so many copies of each partition of a topic, in a while.

        Raises:
            NotFound: there is no such topic.
            InvalidArgument: there are not so many nodes, or it contradicts the topic's settings.
        """
        await self._metadata.submit(SetReplication(topic, replication))

    async def elect_unclean(self, topic: str, partition: int, to: str) -> None:
        """Let a replica lead that was not in sync. What only the others had is lost for good.

        Raises:
            NotFound: there is no such partition.
            InvalidArgument: it holds no copy.
        """
        info = await self._partition(topic, partition)
        version, replicas = info.versions[partition], info.replicas[partition]
        change = PartitionChange(
            topic, partition, version, to, replicas, (to,), unclean=True, anew=True
        )
        await self._metadata.submit(AlterPartitions((change,)))

    async def moves_left(self) -> int:
        """How many partitions are on their way to somewhere else."""
        return plans.unfinished(await self._metadata.read())

    async def _set_state(self, node: str, state: NodeState) -> None:
        info = await self._node(node)
        if info.state is not state:
            await self._metadata.submit(SetNodeState(node, info.incarnation, state.value))

    async def _node(self, node: str) -> NodeInfo:
        info = (await self._metadata.read()).nodes.get(node)
        if info is None or info.has_left:
            raise NotFound(f"there is no node {node!r} in this cluster")
        return info

    async def _partition(self, topic: str, partition: int) -> TopicInfo:
        info = (await self._metadata.read()).topics.get(topic)
        if info is None or not 0 <= partition < info.partitions:
            raise NotFound(f"there is no partition {partition} of topic {topic!r}")
        return info

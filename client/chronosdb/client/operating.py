"""The cluster as an operator handles it: nodes come and go, copies are moved. Any node may be asked."""

from __future__ import annotations

from chronosdb.client.arguments import check_name
from chronosdb.client.cluster import Cluster
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument
from chronosdb.wire.limits import MAX_REPLICATION
from chronosdb.wire.messages import ClusterState, PartitionState


class Operating:
    """Every method may be called again: what is done or under way already is not done twice.

    What moves data returns at once with how many partitions are still to be moved for it;
    `status` shows how it goes on.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def status(self) -> ClusterState:
        """The nodes, and how many partitions are not as they should be."""
        return (await self._describe(None)).cluster

    async def topic(self, name: str) -> list[PartitionState]:
        """Where the copies of a topic's partitions are, and how far behind.

        Raises:
            NotFound: no such topic.
        """
        return (await self._describe(check_name("topic", name))).topic

    async def add(self, node: str, peer_address: str, *, rack: str = "") -> None:
        """Admit a node that its peers reach at `peer_address`; it may be started then.

        Raises:
            Conflict: a node of that name was removed.
        """
        check_name("node", node)
        await self._cluster.call(lambda r: m.AddNode(r, node, peer_address, rack), m.Done)

    async def drain(self, node: str, *, undo: bool = False) -> int:
        """Move everything away from a node; or, `undo`, let it have partitions again.

        Raises:
            NotFound: no such node.
        """
        check_name("node", node)
        return (await self._cluster.call(lambda r: m.DrainNode(r, node, undo), m.Moves)).left

    async def remove(self, node: str, *, force: bool = False) -> int:
        """Take a node out for good: done when it returns 0, else it is being drained; call it again.

        `force`: the node is dead and never comes back; what nobody else has is lost.

        Raises:
            Conflict: what is on it has nowhere to go.
        """
        check_name("node", node)
        return (await self._cluster.call(lambda r: m.RemoveNode(r, node, force), m.Moves)).left

    async def transfer(
        self, to: str, *, topic: str | None = None, partition: int = 0, unclean: bool = False
    ) -> None:
        """Have node `to` lead a partition, or without a topic the metadata.

        A copy that is not in sync leads once it is; `unclean`: at once, and what it lacks is lost.

        Raises:
            NotFound: no such partition.
            InvalidArgument: the node holds no copy of it.
        """
        check_name("node", to)
        if topic is not None:
            check_name("topic", topic)
        await self._cluster.call(
            lambda r: m.TransferLeader(r, topic, partition, to, unclean), m.Done
        )

    async def rebalance(self, *, cancel: bool = False) -> int:
        """Spread copies and leaders over the nodes and racks; `cancel`: end such moves."""
        return (await self._cluster.call(lambda r: m.Rebalance(r, cancel), m.Moves)).left

    async def set_replication(self, topic: str, replication: int) -> int:
        """Let a topic have so many copies from now on.

        Raises:
            NotFound: no such topic.
            InvalidArgument: there are not so many nodes, or fewer than its `min_insync`.
        """
        check_name("topic", topic)
        if not 1 <= replication <= MAX_REPLICATION:
            raise InvalidArgument(
                f"replication is {replication}; it is from 1 to {MAX_REPLICATION}"
            )
        reply = await self._cluster.call(lambda r: m.SetReplication(r, topic, replication), m.Moves)
        return reply.left

    async def _describe(self, topic: str | None) -> m.ClusterReply:
        return await self._cluster.call(lambda r: m.DescribeCluster(r, topic), m.ClusterReply)

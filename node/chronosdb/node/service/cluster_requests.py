"""What an operator's messages about the cluster do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from chronosdb.node.cluster.member import Administration
from chronosdb.node.controller.operations import Operations
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument


class ClusterRequests:
    """The requests of one connection about nodes and copies; each has one reply."""

    def __init__(self, administration: Administration, answer: Callable[[m.Message], None]) -> None:
        self._overview = administration.overview
        self._operations = administration.operations
        self._answer = answer

    def handlers(self) -> dict[type, Callable[[Any], Awaitable[None]]]:
        """What to do with each message."""
        return {
            m.DescribeCluster: self._describe,
            m.AddNode: self._add,
            m.DrainNode: self._drain,
            m.RemoveNode: self._remove,
            m.TransferLeader: self._transfer,
            m.Rebalance: self._rebalance,
            m.SetReplication: self._set_replication,
        }

    async def _describe(self, message: m.DescribeCluster) -> None:
        cluster, topic = await self._overview.describe(message.topic)
        self._answer(m.ClusterReply(message.request, cluster, topic))

    async def _add(self, message: m.AddNode) -> None:
        await self._operate.add_node(message.node, message.peer_address, message.rack)
        self._answer(m.Done(message.request))

    async def _drain(self, message: m.DrainNode) -> None:
        if message.undo:
            await self._operate.undrain_node(message.node)
            left = 0
        else:
            left = await self._operate.drain_node(message.node)
        self._answer(m.Moves(message.request, left))

    async def _remove(self, message: m.RemoveNode) -> None:
        left = await self._operate.remove_node(message.node, force=message.force)
        self._answer(m.Moves(message.request, left))

    async def _transfer(self, message: m.TransferLeader) -> None:
        topic, partition, to = message.topic, message.partition, message.to
        if topic is None:
            await self._operate.transfer_metadata(to)
        elif message.unclean:
            await self._operate.elect_unclean(topic, partition, to)
        else:
            await self._operate.transfer_partition(topic, partition, to)
        self._answer(m.Done(message.request))

    async def _rebalance(self, message: m.Rebalance) -> None:
        if message.cancel:
            await self._operate.cancel_moves()
            left = 0
        else:
            left = await self._operate.rebalance()
        self._answer(m.Moves(message.request, left))

    async def _set_replication(self, message: m.SetReplication) -> None:
        await self._operate.set_replication(message.topic, message.replication)
        self._answer(m.Moves(message.request, await self._operate.moves_left()))

    @property
    def _operate(self) -> Operations:
        if self._operations is None:
            raise InvalidArgument(
                "this node is alone, so there is nothing to move: docs/operations.md tells how to"
                " make a cluster of it"
            )
        return self._operations

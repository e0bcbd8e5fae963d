"""A member of a group that is attached to several nodes, as the client library's members are; and publishers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import trio

from chronosdb.wire import Row
from tests.support.in_cluster import Cluster
from tests.support.raw_client import Delivery, RawClient


@final
class Attached:
    """One member, with a raw client at each node."""

    def __init__(self, name: str, group: str, clients: dict[str, RawClient]) -> None:
        self.name = name
        self.group = group
        self.clients = clients
        self.subscriptions: dict[str, int] = {}
        #: By which node each delivery came.
        self.sender: dict[tuple[int, int, int], str] = {}

    async def attach(self, node: str, *, mode: str = "ordered", credit: int = 1000) -> None:
        """Subscribe at one more node."""
        self.subscriptions[node] = await self.clients[node].subscribe(
            self.group, mode=mode, member=self.name, credit=credit
        )

    async def drain(self, ms: float) -> list[Delivery]:
        """What comes from any node within this time, by partition and position."""
        got: list[Delivery] = []

        async def take(node: str, client: RawClient) -> None:
            for delivery in await client.drain(ms):
                got.append(delivery)
                self.sender[_place(delivery)] = node

        async with trio.open_nursery() as nursery:
            for node, client in self.clients.items():
                nursery.start_soon(take, node, client)
        return sorted(got, key=_place)

    async def ack(self, *deliveries: Delivery) -> None:
        """Each to the node that it came from."""
        for delivery in deliveries:
            await self.clients[self.sender[_place(delivery)]].ack(delivery)

    async def detach(self, node: str) -> None:
        """Leave one node, in order."""
        await self.clients[node].unsubscribe(self.subscriptions.pop(node))

    async def vanish(self) -> None:
        """All connections end."""
        for client in self.clients.values():
            await client.close()


async def attached(
    nodes: Cluster,
    name: str,
    *,
    group: str = "g",
    mode: str = "ordered",
    at: Sequence[str] | None = None,
    credit: int = 1000,
) -> Attached:
    """A member that has subscribed at these nodes, or at all that run."""
    clients = {node.name: await node.connect() for node in nodes.running}
    member = Attached(name, group, clients)
    for node in clients if at is None else at:
        await member.attach(node, mode=mode, credit=credit)
    return member


async def publish(nodes: Cluster, partition: int, *rows: Row, topic: str = "t") -> None:
    """Publish at the partition's leader."""
    info = await nodes.led(topic)
    client = await nodes[info.leaders[partition]].connect()
    await client.publish(*rows, topic=topic, partition=partition)
    await client.close()


def owners(nodes: Cluster, group: str = "g") -> tuple[str, ...]:
    """Who reads each partition, as a node that runs has it in its metadata."""
    info = nodes.any.view.groups.get(("t", group))
    return () if info is None else info.owners


async def assigned(nodes: Cluster, *names: str, group: str = "g") -> tuple[str, ...]:
    """The owners, once they are these members, and no others."""
    with trio.fail_after(60):
        while set(owners(nodes, group)) != set(names):  # noqa: ASYNC110 - no event says so
            await trio.sleep(0.05)
    return owners(nodes, group)


def _place(delivery: Delivery) -> tuple[int, int, int]:
    return delivery.partition, delivery.position, delivery.attempt

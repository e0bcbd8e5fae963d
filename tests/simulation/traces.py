"""What the nodes of a cluster say of their copies, asked again and again, for the checker (I9 to I11)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, final

import trio

from chronosdb.node.cluster.in_cluster import InCluster
from chronosdb.node.partition.partition import PartitionId
from chronosdb.node.replication.copies import CopyStatus
from chronosdb.node.replication.copy import Copy
from tests.simulation.computer import Computer
from tests.simulation.world import World

_EVERY_S: Final = 0.1


@final
class Tracer:
    """Files what has changed since it looked last."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[tuple[str, PartitionId], dict[str, Any]] = {}
        #: Each copy that was seen last, and how many there were in its place.
        self._seen: dict[tuple[str, PartitionId], tuple[Copy, int]] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await trio.sleep(_EVERY_S)
            for computer in self._world.computers:
                for identity, status, leads in copies_of(computer):
                    seen = {
                        "topic": identity.topic,
                        "partition": identity.partition,
                        "life": f"{computer.lives}.{self._number(computer, identity)}",
                        "epoch": status.epoch,
                        "leads": leads,
                        "hw": status.high_watermark,
                    }
                    if self._known.get((computer.name, identity)) != seen:
                        self._known[computer.name, identity] = seen
                        self._world.recorder.saw("trace", seen, computer.name)

    def _number(self, computer: Computer, identity: PartitionId) -> int:
        """Of this copy: one that was given up has lost its files, and the next knows nothing of it."""
        assert computer.node is not None
        assert isinstance(computer.node.member, InCluster)
        copy = computer.node.member.copies._copies[identity.topic_id, identity.partition]
        last, number = self._seen.get((computer.name, identity), (None, 0))
        if copy is not last:
            number += 1
            self._seen[computer.name, identity] = copy, number
        return number


def copies_of(computer: Computer) -> Iterator[tuple[PartitionId, CopyStatus, bool]]:
    """What the node says of each of its copies, and whether it serves it. Nothing while it is down."""
    node = computer.node
    if not computer.serves or node is None or not isinstance(node.member, InCluster):
        return
    copies = node.member.copies
    for identity in copies.held():
        status = copies.status(identity)
        if status is not None:
            yield identity, status, copies.leading(identity) is not None

"""How a node of a cluster starts: in a new life, which leads nothing yet."""

from __future__ import annotations

from chronosdb.node.metadata import Metadata
from chronosdb.raft import BeginLife


async def begin_life(metadata: Metadata, node: str, address: str) -> int:
    """Register a node that clients reach at `address`; returns its incarnation.

    What it led in its former life nobody leads from now on: the controller elects anew, perhaps it.

    Raises:
        ChronosError: no leader of the metadata was reached in time.
    """
    # A node that starts may not have applied its own last registration yet.
    view = await metadata.read()
    known = view.nodes.get(node)
    # Counted, not timed: after a clock step back this life would seem older than the last.
    incarnation = 1 if known is None else known.incarnation + 1
    await metadata.submit(BeginLife(node, address, incarnation))
    return incarnation

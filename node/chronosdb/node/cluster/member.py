"""What a node wants of its place in a cluster, be it a cluster of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.cluster.overview import Overview
from chronosdb.node.consumers import Consumers
from chronosdb.node.controller.operations import Operations
from chronosdb.node.fanout.fanout import Fanout
from chronosdb.node.groups import AnyGroups
from chronosdb.node.holding.holding import Holding
from chronosdb.node.metadata import Metadata
from chronosdb.node.observe.figure import Figure
from chronosdb.node.recurring.schedules import Schedules


@dataclass(frozen=True, slots=True)
class Duties:
    """What is done for clients with the partitions that are led here."""

    consumers: Consumers
    groups: AnyGroups
    schedules: Schedules


@dataclass(frozen=True, slots=True)
class Administration:
    """What operators look at and do."""

    overview: Overview
    #: None: the node is alone, so there is nothing to be done.
    operations: Operations | None


class Member(Protocol):
    """One node, as a member of its cluster."""

    @property
    def metadata(self) -> Metadata:
        """Topics, groups and nodes."""
        ...

    @property
    def holding(self) -> Holding:
        """This node's partitions."""
        ...

    @property
    def fanout(self) -> Fanout | None:
        """Questions to the other nodes; None: there are none."""
        ...

    def duties(self, broker: Broker) -> Duties:
        """Once, before `run_duties`."""
        ...

    def administration(self) -> Administration:
        """Once."""
        ...

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Take part, until cancelled; started when this node knows what is committed."""
        ...

    async def begin_life(self, address: str) -> None:
        """Let the cluster know that this node is there, and that clients reach it at `address`."""
        ...

    async def be_counted(self) -> None:
        """Let the cluster count on this node from now on: all that it holds is open."""
        ...

    def may_lead(self) -> bool:
        """Whether the cluster hears this node, so that it may lead partitions."""
        ...

    async def figures(self) -> Sequence[Figure]:
        """The metrics of it."""
        ...

    async def run_duties(self) -> None:
        """Do what the duties share with other nodes, until cancelled."""
        ...

    async def hand_over(self) -> None:
        """Before a stop: let others lead what this node leads, as far as there are others."""
        ...

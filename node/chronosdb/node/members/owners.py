"""Who decides which member of an ordered group reads which partition: a node alone, or the cluster."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from chronosdb.node.members.subscription import Subscription
from chronosdb.sched import assign


class Owners(Protocol):
    """The owners of partitions, as one node knows them."""

    def name(self, member: Subscription) -> str:
        """What a member is called; no other member of its group is. Names sort in one order."""
        ...

    def of(
        self,
        topic: str,
        group: str,
        *,
        partitions: Sequence[int],
        members: Collection[str],
        current: Mapping[int, str],
    ) -> Mapping[int, str]:
        """The owner of each of these partitions; the members that are here are `members`.

        One that is not among them is waited for: nobody else is sent its partitions.
        """
        ...

    def members_changed(self) -> None:
        """The members here are others than they were."""
        ...


class OwnersHere:
    """A node alone gives the partitions to the members that it has."""

    def name(self, member: Subscription) -> str:
        """See `Owners.name`: they sort in the order in which they came."""
        return f"{member.id:020d}"

    def of(
        self,
        topic: str,  # noqa: ARG002 - it decides by what there is
        group: str,  # noqa: ARG002
        *,
        partitions: Sequence[int],
        members: Collection[str],
        current: Mapping[int, str],
    ) -> Mapping[int, str]:
        """See `Owners.of`."""
        return assign(partitions, sorted(members), current)

    def members_changed(self) -> None:
        """See `Owners.members_changed`: nobody else need know."""

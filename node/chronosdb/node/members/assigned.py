"""The owners of partitions in a cluster: as the metadata say, and no other way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from chronosdb.node.members.subscription import Subscription
from chronosdb.raft import ClusterView


class Assigned:
    """Implements `Owners`. A partition whose owner is not here now is sent to nobody."""

    def __init__(self, me: str, view: Callable[[], ClusterView]) -> None:
        self._me = me
        self._view = view
        #: Told when the members here are others than they were.
        self.on_members: Callable[[], None] = lambda: None

    def name(self, member: Subscription) -> str:
        """See `Owners.name`."""
        return member.member or f"{self._me}/{member.id}"

    def of(
        self,
        topic: str,
        group: str,
        *,
        partitions: Sequence[int],
        members: Collection[str],
        current: Mapping[int, str],  # noqa: ARG002 - the metadata know it
    ) -> Mapping[int, str]:
        """See `Owners.of`."""
        info = self._view().groups.get((topic, group))
        owners = () if info is None else info.owners
        named = ((p, owners[p]) for p in partitions if p < len(owners))
        return {partition: owner for partition, owner in named if owner in members}

    def members_changed(self) -> None:
        """See `Owners.members_changed`."""
        self.on_members()

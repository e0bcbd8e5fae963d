"""A client's subscription, as the dispatchers see it: what a member is on one node."""

from __future__ import annotations

from collections.abc import Callable

from chronosdb.node.partition.partition import Partition
from chronosdb.wire.limits import MAX_CREDITS
from chronosdb.wire.messages import Deliver, Subscribe


class Subscription:
    """A member, as far as it is attached here."""

    def __init__(
        self,
        member_id: int,
        request: Subscribe,
        client: str,
        send: Callable[[Deliver], None],
        has_room: Callable[[], bool],
    ) -> None:
        self.id = member_id
        #: What the client calls itself.
        self.client = client
        #: What the member is called at each node of a cluster; empty: it is attached here alone.
        self.member = request.member
        self.subscription = request.subscription
        self.topic = request.topic
        self.group = request.group
        self.mode = request.mode
        #: Where the group begins, if it is new.
        self.start = request.start
        #: How many events may still be sent. Invariant: 0 … MAX_CREDITS.
        self.credits = request.credits
        self._send = send
        self._has_room = has_room
        #: It takes part in its group.
        self.joined = False
        #: It will not, or no more. Invariant: once set it stays set.
        self.gone = False
        #: The partitions this member is sent now.
        self.partitions: list[Partition] = []

    def room(self) -> int:
        """See `Member.room`: none while the connection is slow to take what was sent."""
        return self.credits if self._has_room() else 0

    def deliver(self, message: Deliver, count: int) -> None:
        """See `Member.deliver`."""
        self.credits -= count
        self._send(message)

    def grant(self, more: int) -> None:
        """The client can take more."""
        self.credits = min(self.credits + more, MAX_CREDITS)
        self.wake()

    def recall(self, most: int) -> int:
        """Take back up to `most` credits that were not spent; how many there were."""
        taken = min(most, self.credits)
        self.credits -= taken
        return taken

    def wake(self) -> None:
        """There may be room that was not there before."""
        for partition in self.partitions:
            partition.dispatcher.wake()

"""The arithmetic of flow control for one subscription.

A credit is the right to send one event. All of them are somewhere: still with the node, spent on an
event that waits in the client's buffer, spent on one that the application works on, or settled and
not yet given back. So the buffer can never hold more than `capacity` events.
"""

from __future__ import annotations

from chronosdb.wire.errors import ProtocolError


class Credits:
    """Where the credits are. Invariant: the four counts are ≥ 0 and, while attached, sum to `capacity`."""

    __slots__ = ("buffered", "capacity", "granted", "held", "settled")

    def __init__(self, capacity: int) -> None:
        assert capacity > 0, "a member without credits never gets an event"
        self.capacity = capacity
        #: The node may still send this many events.
        self.granted = 0
        #: Events received and not handed out.
        self.buffered = 0
        #: Events handed to the application and not settled.
        self.held = 0
        #: Events settled whose credits have not gone back.
        self.settled = 0

    def attach(self) -> int:
        """A new subscription begins; what to grant it. What is held stays so across connections."""
        assert self.granted == self.buffered == 0, "attached twice"
        self.settled = 0
        self.granted = self.capacity - self.held
        return self.granted

    def detach(self) -> None:
        """The node took back everything it had sent that was not handed out."""
        self.granted = self.buffered = 0

    def receive(self, count: int) -> None:
        """The node sent events.

        Raises:
            ProtocolError: more than it had credits for.
        """
        if count > self.granted:
            raise ProtocolError(f"the node sent {count} events; it had {self.granted} credits")
        self.granted -= count
        self.buffered += count

    def hand_out(self, count: int) -> None:
        """Buffered events went to the application."""
        assert count <= self.buffered, "more events than there are"
        self.buffered -= count
        self.held += count

    def settle(self, count: int) -> None:
        """The application acked or nacked events."""
        assert count <= self.held, "settled twice"
        self.held -= count
        self.settled += count

    def give_back(self) -> int:
        """The credits to return now; 0 while it is better to let more gather.

        They go back by halves, so that the node delivers in batches; but at once when nothing is
        buffered, or an application that keeps many events in hand would starve.
        """
        due = self.settled if 2 * self.settled >= self.capacity or not self.buffered else 0
        self.settled -= due
        self.granted += due
        return due

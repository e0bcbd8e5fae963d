"""The arithmetic of flow control for one subscription, at one node or at several.

A credit is the right to send one event. All of them are somewhere: still with a node, spent on an event
that waits in the client's buffer, spent on one that the application works on, or spare: settled and not
yet given back. So the buffer can never hold more than `capacity` events. What the application does
not hold, several nodes share equally, so that none starves by what it keeps in hand: whoever has more than
its share is asked to return it, and where there are fewer credits than nodes they go round.
"""

from __future__ import annotations

from chronosdb.wire.errors import ProtocolError


class Line:
    """The credits of one node. Invariant: the three counts are ≥ 0; the first two are 0 while detached."""

    __slots__ = ("buffered", "granted", "held", "place")

    def __init__(self) -> None:
        #: The node may still send this many events.
        self.granted = 0
        #: Events received and not handed out.
        self.buffered = 0
        #: Events handed to the application and not settled.
        self.held = 0
        #: Its index among the lines.
        self.place = 0

    @property
    def stock(self) -> int:
        """Events that the application may get from this node before more credits are needed."""
        return self.granted + self.buffered


class Credits:
    """Where the credits are.

    Invariant: `granted`, `buffered` and `held` are the sums over all lines, those that were removed
    included; together they are at most `capacity`.
    """

    __slots__ = ("_lines", "_turn", "buffered", "capacity", "granted", "held")

    def __init__(self, capacity: int) -> None:
        assert capacity > 0, "a member without credits never gets an event"
        self.capacity = capacity
        self.granted = 0
        self.buffered = 0
        self.held = 0
        self._lines: list[Line] = []
        #: Moves on to let others have the larger shares, when shares cannot be equal.
        self._turn = 0

    @property
    def spare(self) -> int:
        """Credits that are nowhere."""
        return self.capacity - self.granted - self.buffered - self.held

    @property
    def scarce(self) -> bool:
        """Whether there is not one for each line, so that they have to take turns."""
        return self.capacity - self.held < len(self._lines)

    @property
    def starved(self) -> bool:
        """Whether a line of several has nothing, while there is something that it could have."""
        if len(self._lines) < 2 or self.buffered + self.held == self.capacity:
            return False
        return any(not line.stock for line in self._lines)

    def add(self) -> Line:
        """One more node is to send events."""
        line = Line()
        self._lines.append(line)
        self._place()
        return line

    def remove(self, line: Line) -> None:
        """A node will send no more. What the application holds of it still counts."""
        self.detach(line)
        self._lines.remove(line)
        self._place()

    def turn(self) -> None:
        """Let the next lines have what there is not enough of for all."""
        self._turn += 1

    def share(self, line: Line) -> int:
        """The stock that a line should have."""
        count = len(self._lines)
        return (self.capacity - self.held + (line.place - self._turn) % count) // count

    def attach(self, line: Line) -> int:
        """A subscription begins; what to grant it. What is held stays so across connections."""
        assert line.granted == line.buffered == 0, "attached twice"
        line.granted = min(self.share(line), self.spare)
        self.granted += line.granted
        return line.granted

    def detach(self, line: Line) -> None:
        """The node took back everything it had sent that was not handed out."""
        self.granted -= line.granted
        self.buffered -= line.buffered
        line.granted = line.buffered = 0

    def receive(self, line: Line, count: int) -> None:
        """The node sent events.

        Raises:
            ProtocolError: more than it had credits for.
        """
        if count > line.granted:
            raise ProtocolError(f"the node sent {count} events; it had {line.granted} credits")
        line.granted -= count
        line.buffered += count
        self.granted -= count
        self.buffered += count

    def hand_out(self, line: Line, count: int) -> None:
        """Buffered events went to the application."""
        assert count <= line.buffered, "more events than there are"
        line.buffered -= count
        line.held += count
        self.buffered -= count
        self.held += count

    def settle(self, line: Line, count: int) -> None:
        """The application acked or nacked events."""
        assert count <= line.held, "settled twice"
        line.held -= count
        self.held -= count

    def give_back(self, line: Line) -> int:
        """The credits to grant a node now; 0 while it is better to let more gather.

        They go back by halves, so that the node delivers in batches; but at once when nothing is
        buffered, or an application that keeps many events in hand would starve, and to a node that
        has none at all.
        """
        if not (spare := self.spare):
            return 0
        stock = line.granted + line.buffered
        if stock and self.buffered and 2 * spare * len(self._lines) < self.capacity:
            return 0
        due = min(self.share(line) - stock, spare)
        if due <= 0:
            return 0
        line.granted += due
        self.granted += due
        return due

    def excess(self, line: Line) -> int:
        """How many credits to ask back from a node, because others want for them."""
        wanting = sum(max(0, self.share(other) - other.stock) for other in self._lines)
        if wanting <= self.spare:
            return 0
        return max(0, min(line.granted, line.stock - self.share(line)))

    def recalled(self, line: Line, count: int) -> None:
        """A node has returned credits.

        Raises:
            ProtocolError: more than it had.
        """
        if count > line.granted:
            raise ProtocolError(f"the node returned {count} credits; it had {line.granted}")
        line.granted -= count
        self.granted -= count

    def _place(self) -> None:
        for index, line in enumerate(self._lines):
            line.place = index

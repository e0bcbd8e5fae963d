"""One subscription on one connection: the requests that only make sense there.

Leases live as long as this does. Acks gather here: all that come while the writer is busy with an
earlier frame leave in one Ack per partition, and their callers share its answer. So do credits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chronosdb.client.connection import Connection, Sink
from chronosdb.client.credits import Line
from chronosdb.client.reply import Reply
from chronosdb.client.runs import Run, encode_runs, merged
from chronosdb.wire import messages as m

#: Runs in one Ack (16 bytes each); more of them leave in several.
MAX_RUNS: Final = 4096


@dataclass(frozen=True, slots=True)
class Terms:
    """What a member asks for when it joins a group."""

    topic: str
    group: str
    mode: str
    start: str | int
    #: The name under which the nodes know that they have the same member; "" where there is one node.
    member: str


class Attachment:
    """A subscription as one connection knows it, under the number `subscription`."""

    def __init__(self, connection: Connection, subscription: int, line: Line) -> None:
        self.connection = connection
        #: Where its deliveries are counted.
        self.line = line
        self._subscription = subscription
        #: By partition, the Ack that is queued and not yet made: its runs and its answer.
        self._gathering: dict[int, tuple[list[Run], Reply]] = {}
        #: Credits in the Credit that is queued and not yet made.
        self._granting = 0

    def subscribe(self, terms: Terms, credits_: int, sink: Sink) -> Reply:
        """Join; deliveries go to `sink` from now on."""
        self.connection.bind(self._subscription, sink)
        return self.connection.ask(
            lambda request: m.Subscribe(
                request,
                self._subscription,
                terms.topic,
                terms.group,
                terms.mode,
                terms.start,
                credits_,
                terms.member,
            )
        )

    def unsubscribe(self) -> Reply:
        """Leave. Deliveries that still arrive are dropped: the node takes them back."""
        self.connection.unbind(self._subscription)
        return self.connection.ask(lambda request: m.Unsubscribe(request, self._subscription))

    def grant(self, count: int) -> None:
        """Let the node send `count` more events."""
        if not self._granting:
            self.connection.tell(self._make_credit)
        self._granting += count

    def recall(self, count: int) -> Reply:
        """Ask the node to return up to `count` credits that it has not spent."""
        return self.connection.ask(lambda request: m.Recall(request, self._subscription, count))

    def ack(self, partition: int, runs: list[Run]) -> list[Reply]:
        """Settle `runs`; they are when every reply is there."""
        replies = []
        for start in range(0, len(runs), MAX_RUNS):
            part = runs[start : start + MAX_RUNS]
            gathered, reply = self._gathering.get(partition) or self._gather(partition)
            if len(gathered) + len(part) > MAX_RUNS:
                gathered, reply = self._gather(partition)
            gathered += part
            replies.append(reply)
        return replies

    def nack(
        self, partition: int, position: int, attempt: int, delay_ms: int | None, reason: str
    ) -> Reply:
        """Give one delivery back."""
        return self.connection.ask(
            lambda request: m.Nack(
                request, self._subscription, partition, position, attempt, delay_ms, reason
            )
        )

    def extend(self, partition: int, position: int, attempt: int, extend_ms: int) -> Reply:
        """Move the deadline of one delivery."""
        return self.connection.ask(
            lambda request: m.Extend(
                request, self._subscription, partition, position, attempt, extend_ms
            )
        )

    def _make_credit(self) -> m.Credit:
        granting, self._granting = self._granting, 0
        return m.Credit(self._subscription, granting)

    def _gather(self, partition: int) -> tuple[list[Run], Reply]:
        """Queue a new Ack that takes runs until the writer gets there."""
        gathered: list[Run] = []

        def make(request: int) -> m.Ack:
            if (current := self._gathering.get(partition)) and current[0] is gathered:
                del self._gathering[partition]
            runs = encode_runs(merged(gathered))
            return m.Ack(request, self._subscription, partition, runs)

        reply = self.connection.ask_late(make)
        if not reply.resolved:  # else it was refused at once and will never be made
            self._gathering[partition] = gathered, reply
        return gathered, reply

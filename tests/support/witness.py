"""A client that remembers what it was promised, and checks everything it sees against that.

It publishes and consumes on one partition, in one group. Each promise of docs/architecture.md that is
broken fails an assertion that names it. A node that dies under it is no failure: what was not
answered may or may not have happened, and is asked again later.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import final

import trio

from chronosdb.wire import Row
from chronosdb.wire.errors import LeaseLost
from tests.support.in_process import Broker
from tests.support.partition_log import read_log
from tests.support.raw_client import Delivery, RawClient

GROUP = "witness"


def node_may_die() -> suppress:
    """Whatever the body asked for may or may not have happened."""
    return suppress(trio.EndOfChannel, trio.BrokenResourceError, ConnectionRefusedError)


@final
@dataclass(slots=True)
class Witness:
    """See above."""

    node: Broker
    #: Every event that was ever sent, by id.
    sent: dict[str, Row] = field(default_factory=dict)
    #: Ids whose publish was acked, and their offsets.
    acked: dict[str, int] = field(default_factory=dict)
    #: The offset of each position that was ever delivered.
    positions: dict[int, int] = field(default_factory=dict)
    #: Positions whose ack was confirmed; those whose ack was sent.
    settled: set[int] = field(default_factory=set)
    asked: set[int] = field(default_factory=set)
    #: The last position delivered for the first time on this connection.
    last_first: int = -1
    client: RawClient | None = None

    async def connect(self) -> None:
        """Comes (back), and joins the group."""
        if self.client is not None:
            await self.client.close()
            self.client = None
        with node_may_die():
            client = await self.node.connect()
            await client.create_topic()
            await client.subscribe(GROUP)
            self.client, self.last_first = client, -1

    async def publish(self, *rows: Row) -> None:
        """Publishes; an id that was acked before must be a duplicate at the same offset (I5)."""
        if self.client is None:
            return
        self.sent.update({row.message_id.decode(): row for row in rows})
        with node_may_die():
            reply = await self.client.publish(*rows)
            offsets = list(array("q", reply.offsets)) or [
                reply.first_offset + i for i in range(len(rows))
            ]
            for i, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
                name = row.message_id.decode()
                known = self.acked.setdefault(name, offset)
                assert known == offset, f"I5: {name} is at {known} and at {offset}"
                if reply.duplicates and not reply.duplicates[i]:
                    assert offset == max(self.acked.values()), f"I5: {name} was stored again"

    async def receive(self, ms: float) -> list[Delivery]:
        """What is delivered within this time, checked."""
        if self.client is None:
            return []
        got: list[Delivery] = []
        with node_may_die():
            got = await self.client.drain(ms)
        for delivery in got:
            self._check(delivery)
        return got

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settles them; what arrives meanwhile is checked, and left to come again."""
        if self.client is None or not deliveries:
            return
        self.asked |= {d.position for d in deliveries}
        with node_may_die():
            await self.client.ack(*deliveries)
            # What came before the answer was sent before the ack was committed.
            for delivery in self.client.arrived():
                self._check(delivery)
            self.settled |= {d.position for d in deliveries}

    async def nack(self, delivery: Delivery, delay_ms: int) -> None:
        """Gives one back."""
        if self.client is not None:
            with node_may_die(), suppress(LeaseLost):
                await self.client.nack(delivery, delay_ms=delay_ms)

    async def finish(self, until_ms: int) -> None:
        """Everything that was stored is due by `until_ms`: it arrives, and the log agrees (I1, I4)."""
        if self.node.now_ms < until_ms:
            await self.node.advance(until_ms - self.node.now_ms)
            await self.connect()
        if self.sent:
            await self.publish(*self.sent.values())
        while got := await self.receive(200_000):
            await self.ack(got)
        assert (
            set(self.acked.values()) == set(self.positions.values()) == set(range(len(self.sent)))
        )
        self.check_log()

    def check_log(self) -> None:
        """The log has what was acked, where it was acked, and fired each event once, on time."""
        story = read_log(self.node.disk)
        for name, offset in self.acked.items():
            assert story.ids[offset] == name, f"I1: {name} is not at {offset}"
        assert len(set(story.ids)) == len(story.ids), "I5: an id is stored twice"
        offsets = [offset for offset, _, _ in story.fired]
        assert len(set(offsets)) == len(offsets), "an event has fired twice"
        assert all(due_ms <= fired_ms for _, due_ms, fired_ms in story.fired), "I3: fired early"
        for position, offset in self.positions.items():
            assert offsets[position] == offset, f"I6: position {position} has changed"

    def _check(self, d: Delivery) -> None:
        row = self.sent.get(d.message_id)
        assert row is not None, f"I2: {d.message_id} was never published"
        assert (d.payload, d.key or b"", d.raw_meta) == (row.payload, row.key, row.meta), "I2"
        assert d.sent_ms >= d.schedule_ts, f"I3: {d.message_id} is early"
        assert self.acked.get(d.message_id, d.offset) == d.offset, f"I1: {d.message_id} has moved"
        assert d.position not in self.settled, f"I8: {d.message_id} was acked before"
        if d.attempt == 1:
            assert d.position > self.last_first, f"I6: {d.position} comes after {self.last_first}"
            self.last_first = d.position
        assert self.positions.setdefault(d.position, d.offset) == d.offset, "I6"

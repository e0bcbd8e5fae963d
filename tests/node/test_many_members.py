"""64 members share one partition, fail, dawdle and die at random: everything is settled, and no event
is ever in two living hands at once."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, pairwise
from random import Random
from typing import final

import pytest
import trio
from trio.testing import MockClock

from chronosdb.wire import messages as m
from chronosdb.wire.errors import LeaseLost
from tests.support.in_process import Broker, topic_broker
from tests.support.raw_client import Delivery, RawClient, event

MEMBERS = 64
EVENTS = 3000
ACK_TIMEOUT_MS = 2000
SETTINGS = {
    "ack_timeout_ms": ACK_TIMEOUT_MS,
    "backoff_ms": 10,
    "backoff_max_ms": 100,
    "max_attempts": 1000,
}


@dataclass(slots=True)
class Lease:
    """One delivery, and the time from which its holder, for all the node knows, has it no more."""

    member: int
    attempt: int
    sent_ms: int
    end_ms: int


@final
@dataclass
class Ledger:
    """Every delivery that a member read, and every ack. Members read late: order is by attempt."""

    leases: defaultdict[int, dict[int, Lease]] = field(default_factory=lambda: defaultdict(dict))
    #: When the first ack of each position was sent, and when it was answered.
    acks: dict[int, tuple[int, int]] = field(default_factory=dict)

    def took(self, member: int, delivery: Delivery) -> None:
        leases = self.leases[delivery.position]
        assert delivery.attempt not in leases, "no two attempts are alike"
        end_ms = delivery.sent_ms + ACK_TIMEOUT_MS
        leases[delivery.attempt] = Lease(member, delivery.attempt, delivery.sent_ms, end_ms)

    def gives_back(self, delivery: Delivery, now_ms: int) -> None:
        lease = self.leases[delivery.position][delivery.attempt]
        lease.end_ms = min(lease.end_ms, now_ms)

    def acked(self, delivery: Delivery, sent_ms: int, answered_ms: int) -> None:
        self.acks.setdefault(delivery.position, (sent_ms, answered_ms))

    def dies(self, member: int, now_ms: int) -> None:
        for leases in self.leases.values():
            for lease in leases.values():
                if lease.member == member:
                    lease.end_ms = min(lease.end_ms, now_ms)

    def check(self) -> int:
        """Each lease began when the one before had ended, and none after the ack; how many moved on."""
        moved = 0
        for position, leases in self.leases.items():
            sent_ms, answered_ms = self.acks[position]
            for attempt in sorted(leases):
                assert leases[attempt].sent_ms <= answered_ms, (position, leases[attempt])
            for before, after in pairwise(leases[attempt] for attempt in sorted(leases)):
                assert min(before.end_ms, sent_ms) <= after.sent_ms, (position, before, after)
                moved += before.member != after.member
        return moved


@final
class Crowd:
    """The members; each one that dies is replaced."""

    def __init__(self, node: Broker, ledger: Ledger, rng: Random) -> None:
        self.node = node
        self.ledger = ledger
        self.rng = rng
        self.deaths = 0
        self._numbers = count()

    @property
    def done(self) -> bool:
        return len(self.ledger.acks) == EVENTS

    async def seat(self) -> None:
        """One member after the other, until everything is acked."""
        while not self.done:
            member = next(self._numbers)
            client = await self.node.connect()
            await self._live(client, member)
            self.ledger.dies(member, self.node.now_ms)
            self.deaths += not self.done
            await client.close()

    async def _live(self, client: RawClient, member: int) -> None:
        credit = self.rng.choice((1, 4, 16, 100))
        number = await client.subscribe(credit=credit)
        while not self.done and self.rng.random() > 0.03:
            got = await client.drain(self.rng.uniform(0.1, 40))
            for delivery in got:
                self.ledger.took(member, delivery)
            if self.rng.random() < 0.02:
                await trio.sleep(2 * ACK_TIMEOUT_MS / 1000)  # so slow that all of it times out
            for delivery in got:
                await self._handle(client, delivery)
            if got:
                await client.post(m.Credit(number, len(got)))

    async def _handle(self, client: RawClient, delivery: Delivery) -> None:
        if self.rng.random() < 0.1:
            self.ledger.gives_back(delivery, self.node.now_ms)
            with suppress(LeaseLost):
                await client.nack(delivery, delay_ms=0)
        elif self.rng.random() < 0.9:  # else it is forgotten, and times out
            sent_ms = self.node.now_ms
            await client.ack(delivery)
            self.ledger.acked(delivery, sent_ms, self.node.now_ms)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_no_event_is_in_two_hands_and_all_are_settled(clock: MockClock, seed: int) -> None:
    """I8 and I16, with members killed at random; seeds repeat exactly."""
    rng = Random(seed)
    async with topic_broker(clock, topic=SETTINGS, seed=seed) as (node, client):
        crowd = Crowd(node, Ledger(), rng)
        with trio.fail_after(600):
            async with trio.open_nursery() as nursery:
                for _ in range(MEMBERS):
                    nursery.start_soon(crowd.seat)
                for first in range(0, EVENTS, 300):
                    await client.publish(*(event(f"e{i}") for i in range(first, first + 300)))
                    await trio.sleep(0.2)
        assert crowd.ledger.acks.keys() == set(range(EVENTS))
        assert crowd.ledger.check() > 100
        assert crowd.deaths > MEMBERS
        await node.crash()
        await node.start()
        await client.reconnect()
        await client.subscribe()
        assert await client.drain(10_000) == []

"""A leader that may not lead just now, and one that makes room for another."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from chronosdb.node.partition.proposals import Placement
from chronosdb.node.replication.messages import Handover
from tests.replication.cluster import FIRST, START_MS, publish, world


async def test_a_leader_without_a_lease_serves_nothing_until_it_has_one_again(
    autojump_clock: MockClock,
) -> None:
    """What was under way is committed all the same: that never rests on leases."""
    async with world(autojump_clock, "a", "b") as w:
        leader = await w.leader()
        assert w["a"].life is not None
        w["a"].life.lease.set(held=False)
        assert w["a"].copies.leading(FIRST) is None
        assert leader.dispatcher._quiet
        assert await publish(leader, "under way") == Placement(0)
        w["a"].life.lease.set(held=True)
        assert w["a"].copies.leading(FIRST) is leader
        assert not leader.dispatcher._quiet


async def test_a_leader_without_a_lease_has_nothing_to_do(autojump_clock: MockClock) -> None:
    """What is due to be sent again does not keep it busy; it is looked at when there is a lease."""
    async with world(autojump_clock, "a", "b") as w:
        leader = await w.leader()
        looked = 0

        def due_since_long() -> int:
            nonlocal looked
            looked += 1
            assert looked < 100, "busy"
            return START_MS + 15_000 if looked < 50 else START_MS + 10_000_000

        leader.dispatcher._next_event_ms = due_since_long  # type: ignore[method-assign]
        assert w["a"].life is not None
        w["a"].life.lease.set(held=False)
        await trio.sleep(30)
        assert looked < 10
        w["a"].life.lease.set(held=True)
        await trio.sleep(1)
        assert looked >= 10


async def test_a_leader_hands_over_to_a_follower_that_is_level(autojump_clock: MockClock) -> None:
    """It writes nothing more for a moment; if nobody else is elected, it goes on."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        await publish(leader, "one")
        copies = w["a"].copies
        assert not await copies.handover(Handover(1, 0, 7, "b"))
        assert not await copies.handover(Handover(1, 0, 1, "nobody"))
        assert await copies.handover(Handover(1, 0, 1, "b"))
        placed: list[object] = []
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                placed.append(await publish(leader, "two"))

            nursery.start_soon(wait)
            await trio.sleep(0.5)
            assert placed == []
        assert placed == [Placement(1)]
        assert await copies.handover(Handover(1, 0, 1, "b"))
        assert await w.elect(prefer="b") == "b"
        assert await publish(await w.leader(), "three") == Placement(2)
        w.cut_off("c")
        await publish(await w.leader(), "four")
        with trio.fail_after(2):
            assert not await w["b"].copies.handover(Handover(1, 0, 2, "c"))


async def test_a_handover_that_is_broken_off_stops_nothing(autojump_clock: MockClock) -> None:
    """Whoever asked has gone before the other was level: the leader writes on."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        w.cut_off("c")
        await publish(leader, "one")
        with trio.move_on_after(0.1) as asking:
            await w["a"].copies.handover(Handover(1, 0, 1, "c"))
        assert asking.cancelled_caught
        with trio.fail_after(5):
            assert await publish(leader, "two") == Placement(1)

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from unittest.mock import patch

import anyio
import pytest

from chronosdb.client import (
    Client,
    Delivery,
    Event,
    InvalidArgument,
    LeaseLost,
    Overloaded,
    Subscription,
    Timeout,
)
from chronosdb.wire import messages as m
from tests.client.fake_node import (
    FakeNode,
    Peer,
    fails_with,
    node_and_client,
    pairs,
    stays_silent,
)
from tests.client.virtual_time import both_backends


@asynccontextmanager
async def consuming(
    count: int, *, credits_: int = 256, partitions: int = 1
) -> AsyncIterator[tuple[FakeNode, Client, Subscription]]:
    """A subscription with `count` events waiting in it."""
    async with node_and_client(partitions=partitions) as (node, db):
        await db.publish_many("orders", [Event(payload=b"%d" % i) for i in range(count)])
        async with db.consume("orders", group="g", credits=credits_) as events:
            await anyio.wait_all_tasks_blocked()
            yield node, db, events


def settled(node: FakeNode) -> set[int]:
    return node.cursor("orders", 0, "g").settled


@both_backends
async def test_an_ack_returns_when_the_node_has_confirmed_it() -> None:
    async with consuming(1) as (node, _, events):
        ev = await anext(events)
        held: list[tuple[Peer, m.Message]] = []
        node.script(m.Ack, lambda peer, ack: held.append((peer, ack)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ev.ack)
            await anyio.wait_all_tasks_blocked()
            [(peer, ack)] = held
            assert tasks.cancel_scope.cancel_called is False
            node.handle(peer, ack)
        assert settled(node) == {0}


@both_backends
async def test_an_event_left_unsettled_holds_back_no_credit_but_its_own() -> None:
    """The first is acked while others wait in the buffer, the rest is taken and never settled."""
    async with consuming(8, credits_=4) as (node, _, events):
        await (await anext(events)).ack()
        kept = [await anext(events) for _ in range(3)]
        assert (await anext(events)).offset == 4
        assert [ev.offset for ev in kept] == [1, 2, 3]
        assert settled(node) == {0}


@both_backends
async def test_acks_of_many_tasks_leave_in_one_frame() -> None:
    """Each task still waits for its own answer."""
    async with consuming(100) as (node, _, events):
        batch = await anext(events.batches())
        async with anyio.create_task_group() as tasks:
            for ev in batch:
                tasks.start_soon(ev.ack)
        assert settled(node) == set(range(100))
        assert [list(pairs(ack.runs)) for ack in node.got(m.Ack)] == [[(0, 100)]]


@both_backends
async def test_a_batch_is_acked_with_one_request_per_partition() -> None:
    async with consuming(60, partitions=3) as (node, _, events):
        await (await anext(events.batches())).ack()
        acks = node.got(m.Ack)
        assert sorted(ack.partition for ack in acks) == [0, 1, 2]
        assert sum(stop - start for ack in acks for start, stop in pairs(ack.runs)) == 60


@both_backends
async def test_acks_with_very_many_gaps_are_split_into_bounded_frames() -> None:
    with patch("chronosdb.client.attachment.MAX_RUNS", 10):
        async with consuming(100) as (node, _, events):
            batch = await anext(events.batches())
            async with anyio.create_task_group() as tasks:
                for ev in batch[::2]:
                    tasks.start_soon(ev.ack)
            assert settled(node) == set(range(0, 100, 2))
            assert [len(list(pairs(ack.runs))) for ack in node.got(m.Ack)] == [10] * 5
            await batch.ack()
            assert settled(node) == set(range(100))


@both_backends
async def test_acking_twice_is_harmless_and_returns_one_credit() -> None:
    async with consuming(8, credits_=4) as (node, _, events):
        held = [await anext(events) for _ in range(4)]
        for _ in range(3):
            await held[0].ack()
        assert sum(credit.credits for credit in node.got(m.Credit)) == 1
        assert (await anext(events)).position == 4


@both_backends
async def test_an_ack_that_meets_an_overloaded_node_is_repeated() -> None:
    async with consuming(1) as (node, _, events):
        node.script(m.Ack, fails_with(Overloaded("later")), fails_with(Overloaded("later")))
        await (await anext(events)).ack()
        assert settled(node) == {0}


@both_backends
async def test_an_ack_without_an_answer_times_out_and_may_be_repeated() -> None:
    async with consuming(1) as (node, _, events):
        ev = await anext(events)
        node.script(m.Ack, stays_silent)
        with pytest.raises(Timeout):
            await ev.ack()
        await ev.ack()
        assert settled(node) == {0}


@both_backends
async def test_a_nack_brings_the_event_again_with_the_next_attempt() -> None:
    async with consuming(1) as (node, _, events):
        ev = await anext(events)
        await ev.nack()
        again = await anext(events)
        assert (again.position, again.attempt, again.message_id) == (0, 2, ev.message_id)
        [nack] = node.got(m.Nack)
        assert (nack.position, nack.attempt, nack.delay_ms, nack.reason) == (0, 1, None, "")


@both_backends
async def test_a_nack_carries_its_delay_and_reason() -> None:
    async with consuming(1) as (node, _, events):
        await (await anext(events)).nack(delay=1.5, reason="x" * 2000)
        [nack] = node.got(m.Nack)
        assert (nack.delay_ms, nack.reason) == (1500, "x" * 1024)


@both_backends
async def test_a_late_ack_counts_after_a_nack_and_its_credit_returns_once() -> None:
    async with consuming(1, credits_=2) as (node, _, events):
        ev = await anext(events)
        await ev.nack()
        await ev.ack()
        assert settled(node) == {0}
        assert sum(credit.credits for credit in node.got(m.Credit)) == 1


@both_backends
async def test_what_is_no_longer_ours_cannot_be_given_back_or_extended() -> None:
    async with consuming(1) as (node, _, events):
        ev = await anext(events)
        node.cursor("orders", 0, "g").leases.clear()
        with pytest.raises(LeaseLost):
            await ev.extend(30)
        with pytest.raises(LeaseLost):
            await ev.nack()


@both_backends
async def test_extend_asks_for_more_time() -> None:
    async with consuming(1) as (node, _, events):
        await (await anext(events)).extend(30)
        [extend] = node.got(m.Extend)
        assert (extend.position, extend.attempt, extend.extend_ms) == (0, 1, 30_000)


@pytest.mark.parametrize("seconds", [-1, float("nan"), 1e9])
@both_backends
async def test_spans_of_time_have_limits(seconds: float) -> None:
    async with consuming(1) as (node, _, events):
        ev = await anext(events)
        for attempt in (ev.extend(seconds), ev.nack(delay=seconds)):
            with pytest.raises(InvalidArgument, match="seconds"):
                await attempt
        assert not node.got(m.Nack)


@pytest.mark.parametrize("arguments", [{"delay": "1"}, {"reason": 5}])
@both_backends
async def test_arguments_of_other_types_are_refused(arguments: dict[str, Any]) -> None:
    async with consuming(1) as (_, _, events):
        ev = await anext(events)
        with pytest.raises(TypeError):
            await ev.nack(**arguments)
        await ev.ack()


@both_backends
async def test_a_batch_goes_back_but_for_what_is_lost() -> None:
    async with consuming(5) as (node, _, events):
        batch = await anext(events.batches())
        node.cursor("orders", 0, "g").leases.pop(2)
        await batch.nack(reason="all")
        assert [nack.position for nack in node.got(m.Nack)] == [0, 1, 2, 3, 4]
        assert {nack.reason for nack in node.got(m.Nack)} == {"all"}


@both_backends
async def test_a_block_that_succeeds_acks() -> None:
    async with consuming(1) as (node, _, events):
        async with await anext(events) as ev:
            assert isinstance(ev, Delivery)
        assert settled(node) == {0}


@both_backends
async def test_a_block_that_fails_nacks_with_the_error_and_lets_it_pass() -> None:
    async with consuming(1) as (node, _, events):
        with pytest.raises(ValueError, match="bad input"):
            async with await anext(events):
                raise ValueError("bad input")
        assert [nack.reason for nack in node.got(m.Nack)] == ["ValueError: bad input"]
        assert not settled(node)


@both_backends
async def test_a_block_that_fails_shows_its_error_even_if_the_lease_is_lost() -> None:
    async with consuming(1) as (node, _, events):
        node.cursor("orders", 0, "g").leases.clear()
        with pytest.raises(ValueError, match="mine"):
            async with await anext(events):
                raise ValueError("mine")


@both_backends
async def test_a_block_that_is_cancelled_gives_the_event_back_without_waiting() -> None:
    async with consuming(1) as (node, _, events):
        node.script(m.Nack, stays_silent)
        with anyio.move_on_after(1):
            async with await anext(events):
                await anyio.sleep_forever()
        await anyio.wait_all_tasks_blocked()
        assert [nack.position for nack in node.got(m.Nack)] == [0]


@both_backends
async def test_a_block_that_has_decided_for_itself_is_left_alone() -> None:
    async with consuming(2) as (node, _, events):
        async with await anext(events) as ev:
            await ev.nack(delay=60)
        with suppress(ValueError):
            async with await anext(events) as ev:
                await ev.ack()
                raise ValueError("after")
        assert len(node.got(m.Nack)) == len(node.got(m.Ack)) == 1


@both_backends
async def test_after_leaving_acks_say_that_the_event_comes_again() -> None:
    async with node_and_client() as (_, db):
        await db.publish("orders", b"")
        async with db.consume("orders", group="g") as events:
            ev = await anext(events)
        for attempt in (ev.ack(), ev.nack(), ev.extend(1)):
            with pytest.raises(LeaseLost, match="delivered again"):
                await attempt


@both_backends
async def test_acks_in_any_order_become_few_runs() -> None:
    async with consuming(6) as (node, _, events):
        batch = await anext(events.batches())
        async with anyio.create_task_group() as tasks:
            for i in (5, 0, 1, 3):
                tasks.start_soon(batch[i].ack)
        [ack] = node.got(m.Ack)
        assert array("q", ack.runs.tobytes()).tolist() == [0, 2, 3, 4, 5, 6]

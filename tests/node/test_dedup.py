"""One id inside the window is one event (I5), whatever happened to the first attempt."""

from __future__ import annotations

from array import array

import pytest
from trio.testing import MockClock

from chronosdb.wire import encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import Conflict
from tests.support.in_process import START_MS, topic_broker
from tests.support.raw_client import event

DAY_MS = 24 * 3_600_000
FAR_MS = START_MS + 3000 * DAY_MS


def offsets(reply: m.Published, n: int) -> list[tuple[int, bool]]:
    """Where each of `n` events is, and whether it was there before."""
    if not reply.offsets:
        return [(reply.first_offset + i, False) for i in range(n)]
    return list(zip(array("q", reply.offsets), map(bool, reply.duplicates), strict=True))


async def test_a_repeated_publish_is_answered_with_the_original_offset(clock: MockClock) -> None:
    """Old and new ids in one batch each get their own answer, in order."""
    async with topic_broker(clock) as (_, client):
        a, b, c = (event(name, FAR_MS) for name in "abc")
        assert offsets(await client.publish(a, b), 2) == [(0, False), (1, False)]
        again = await client.publish(b, c, a)
        assert offsets(again, 3) == [(1, True), (2, False), (0, True)]
        assert offsets(await client.publish(c), 1) == [(2, True)]


async def test_twins_in_one_batch_are_one_event(clock: MockClock) -> None:
    """The second is a duplicate of the first."""
    async with topic_broker(clock) as (_, client):
        a, b = event("a", FAR_MS), event("b", FAR_MS)
        reply = await client.publish(a, a, b, a)
        assert offsets(reply, 4) == [(0, False), (0, True), (1, False), (0, True)]
        assert offsets(await client.publish(event("c")), 1) == [(2, False)]


async def test_twins_in_different_batches_of_one_write_group_are_one_event(
    clock: MockClock,
) -> None:
    """Batches that wait for the same fsync see each other's ids."""
    async with topic_broker(clock) as (node, client):
        a, b = event("a", FAR_MS), event("b", FAR_MS)
        with node.threads.held("_write"):
            await client.publish_later(event("first", FAR_MS))
            await client.drain(1)
            waiting = [await client.publish_later(*rows) for rows in ([a], [b, a], [a])]
            await client.drain(1)
        replies = [await client.reply(request) for request in waiting]
        assert [getattr(r, "first_offset", None) for r in replies] == [1, 2, 1]
        assert offsets(replies[1], 2) == [(2, False), (1, True)]  # type: ignore[arg-type]


async def test_now_is_relative_even_if_the_publisher_did_not_say_so(clock: MockClock) -> None:
    """A client in another language may leave the flag out: its retry is still a duplicate."""
    async with topic_broker(clock) as (node, client):
        bare = event("a")._replace(flags=0)
        assert offsets(await client.publish(bare), 1) == [(0, False)]
        await node.wait(5000)
        assert offsets(await client.publish(bare), 1) == [(0, True)]


async def test_another_content_under_a_known_id_is_a_conflict_and_nothing_is_stored(
    clock: MockClock,
) -> None:
    """Not even the new events of the same batch; and the id keeps its first content."""
    async with topic_broker(clock) as (_, client):
        await client.publish(event("a", FAR_MS, b"one"))
        for other in (
            event("a", FAR_MS, b"two"),
            event("a", FAR_MS + 1, b"one"),
            event("a", FAR_MS, b"one", key=b"k"),
            event("a", FAR_MS, b"one", meta={"k": 1}),
            event("a", FAR_MS, b"ne", key=b"o"),
        ):
            with pytest.raises(Conflict, match="'a'"):
                await client.publish(event("new", FAR_MS), other)
        with pytest.raises(Conflict, match="'twin'"):
            await client.publish(event("twin", FAR_MS, b"1"), event("twin", FAR_MS, b"2"))
        assert (await client.get("new")).state == (await client.get("twin")).state == ""
        assert offsets(await client.publish(event("b", FAR_MS)), 1) == [(1, False)]


async def test_a_conflict_does_not_harm_who_shares_its_write_group(clock: MockClock) -> None:
    """One is refused, its neighbours are stored, with dense offsets."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", FAR_MS, b"one"))
        with node.threads.held("_write"):
            await client.publish_later(event("b", FAR_MS))
            await client.drain(1)
            bad = await client.publish_later(event("c", FAR_MS), event("a", FAR_MS, b"two"))
            good = await client.publish_later(event("d", FAR_MS))
            await client.drain(1)
        with pytest.raises(Conflict):
            await client.reply(bad)
        assert await client.reply(good) == m.Published(good, 2)


@pytest.mark.parametrize("relative", [True, False])
async def test_a_retry_of_a_relative_time_is_a_duplicate(clock: MockClock, relative: bool) -> None:
    """A time counted from the moment of the call is not part of the event's identity."""
    async with topic_broker(clock) as (node, client):
        first = event("a", node.now_ms + 5000, relative=True) if relative else event("a")
        await client.publish(first)
        await node.advance(100)
        second = event("a", node.now_ms + 5000, relative=True) if relative else event("a")
        assert offsets(await client.publish(second), 1) == [(0, True)]


async def test_an_id_is_free_again_when_its_window_has_passed(clock: MockClock) -> None:
    """The window runs from the time of publishing, on the log's clock."""
    async with topic_broker(clock, topic={"dedup_window_ms": 60_000}) as (node, client):
        await client.publish(event("a", START_MS))
        await node.advance(59_000)
        assert offsets(await client.publish(event("a", START_MS)), 1) == [(0, True)]
        await node.advance(3000)
        await client.reconnect()
        assert offsets(await client.publish(event("a", START_MS, b"new")), 1) == [(1, False)]


async def test_an_id_that_was_used_again_dedups_after_its_first_use_is_collected(
    clock: MockClock,
) -> None:
    """The checkpoint that forgets the old use must not forget the new one with it."""
    async with topic_broker(clock, topic={"dedup_window_ms": 60_000}) as (node, client):
        await client.publish(event("a", START_MS))
        await node.advance(31_000)  # a checkpoint: the first use is in the store
        await node.advance(31_000)
        await client.reconnect()
        assert offsets(await client.publish(event("a", START_MS)), 1) == [(1, False)]
        await node.advance(31_000)  # a checkpoint: collects the first use, saves the second
        assert offsets(await client.publish(event("a", START_MS)), 1) == [(1, True)]


@pytest.mark.parametrize("views", ["kept", "deleted"])
async def test_a_clock_that_jumped_and_was_set_right_neither_frees_nor_breaks_ids(
    clock: MockClock, views: str
) -> None:
    """Log time never goes back, so ids that have left the window stay out of it, and all goes on."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", START_MS))
        node.step_clock(10 * DAY_MS)
        await node.advance(31_000)
        assert offsets(await client.publish(event("b", START_MS)), 1) == [(1, False)]
        await node.advance(31_000)
        node.step_clock(-10 * DAY_MS)
        await node.stop()
        if views == "deleted":
            node.views.discard()
        await node.start()
        await client.reconnect()
        assert offsets(await client.publish(event("b", START_MS)), 1) == [(1, True)]
        assert offsets(await client.publish(event("a", START_MS)), 1) == [(2, False)]
        await node.advance(31_000)
        assert offsets(await client.publish(event("b", START_MS)), 1) == [(1, True)]


async def test_a_clock_that_was_ahead_for_a_while_frees_no_id(clock: MockClock) -> None:
    """Nothing was written at that time, so the log never had it: its next record is in the window."""
    async with topic_broker(clock, topic={"dedup_window_ms": 60_000}) as (node, client):
        await client.publish(event("a", START_MS))
        node.step_clock(90_000)
        await client.call(m.Change, "t", 0, b"not there", None)
        await node.advance(31_000)  # a checkpoint
        node.step_clock(-121_000)
        assert offsets(await client.publish(event("a", START_MS)), 1) == [(0, True)]


async def test_a_window_can_be_made_longer(clock: MockClock) -> None:
    """Ids that were forgotten stay forgotten; checkpoints go on."""
    async with topic_broker(clock, dedup_window_ms=60_000) as (node, client):
        await client.publish(event("a", START_MS))
        await node.advance(62_000)
        await client.publish(event("b", START_MS))
        await node.advance(31_000)
        await node.stop()
        node.settings["dedup_window_ms"] = DAY_MS
        await node.start()
        await client.reconnect()
        await client.publish(event("c", START_MS))
        await node.advance(31_000)
        reply = await client.publish(
            event("a", START_MS), event("b", START_MS), event("c", START_MS)
        )
        assert offsets(reply, 3) == [(3, False), (1, True), (2, True)]


@pytest.mark.parametrize("how", ["restart", "views deleted", "crash", "crash twice"])
async def test_ids_are_known_after_any_restart(clock: MockClock, how: str) -> None:
    """Those in a checkpoint, and those after it."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("saved", FAR_MS))
        await node.advance(31_000)
        await client.publish(event("not saved", FAR_MS), event("past"))
        if how in {"restart", "views deleted"}:
            await node.stop()
        if how == "views deleted":
            node.views.discard()
        for _ in range(how.count("crash") + how.count("twice")):
            await node.crash()
            await node.start() if how == "crash twice" else None
        if how != "crash twice":
            await node.start()
        await client.reconnect()
        reply = await client.publish(
            event("past"), event("saved", FAR_MS), event("new"), event("not saved", FAR_MS)
        )
        assert offsets(reply, 4) == [(2, True), (0, True), (3, False), (1, True)]


async def test_the_same_id_in_another_topic_is_another_event(clock: MockClock) -> None:
    """Ids are per topic."""
    async with topic_broker(clock) as (_, client):
        await client.create_topic("u")
        await client.publish(event("a"))
        assert offsets(await client.publish(event("a", FAR_MS), topic="u"), 1) == [(0, False)]


async def test_a_batch_of_only_duplicates_writes_nothing(clock: MockClock) -> None:
    """It is answered, and the log does not grow."""
    async with topic_broker(clock) as (node, client):
        await client.publish(event("a", FAR_MS))
        writes = node.disk.calls.count("pwrite")
        rows = encode_batch([event("a", FAR_MS)] * 3)
        await client.call(m.Publish, "t", 0, memoryview(rows))
        assert node.disk.calls.count("pwrite") == writes

"""The client's side of a replay: places, credit, and a node that does not keep the rules."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from contextlib import aclosing

import anyio.lowlevel
import pytest

from chronosdb.client.replay import source
from chronosdb.wire import Row, encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, NotFound, Overloaded, ProtocolError
from chronosdb.wire.messages.replay import NO_CUT
from tests.client.fake_node import FakeNode, Peer, Script, node_and_client
from tests.client.virtual_time import both_backends

CUT = 100


def opens(*messages: Callable[[int], m.Message], until: int = CUT) -> Script:
    """A script: open the stream, and send these messages, made for its number."""

    def answer(peer: Peer, message: m.Message) -> None:
        assert isinstance(message, m.Replay)
        at = message.place.at if message.place else 0
        peer.say(m.ReplayOpened(message.request, m.ReplayPlace(until, at, 0)))
        peer.say(*(make(message.stream) for make in messages))

    return answer


def frame(offsets: Sequence[int], /, **columns: bytes) -> Callable[[int], m.Replayed]:
    """Events "e<offset>", published at their offset, with some columns replaced."""
    batch = encode_batch([Row(b"e%d" % n, 7, b"", b"", b"") for n in offsets])
    numbers = array("q", offsets).tobytes()
    usual = {"offsets": numbers, "published": numbers, "positions": b"", "fired": b""}
    whole = {name: memoryview(raw) for name, raw in {**usual, **columns}.items()}
    return lambda stream: m.Replayed(stream, **whole, batch=memoryview(batch))


def ends(error: ChronosError | None = None) -> Callable[[int], m.ReplayEnd]:
    if error is None:
        return m.ReplayEnd
    return lambda stream: m.ReplayEnd(stream, error.code, error.message, error.retryable)


def cut(peer: Peer, _message: m.Message) -> None:
    """A script: break the connection."""
    peer.cut()


async def asked(node: FakeNode, kind: type[m.Message], count: int) -> list[m.Message]:
    """Waits until the node has got so many messages of a kind."""
    while len(found := node.got(kind)) < count:
        await anyio.lowlevel.checkpoint()
    return list(found)


@both_backends
async def test_a_stream_that_ends_retryably_goes_on_behind_the_last_event() -> None:
    """Without a new connection, and up to the cut that it had first."""
    async with node_and_client() as (node, db):
        node.script(
            m.Replay,
            opens(frame([3, 4]), ends(Overloaded("the partition moves"))),
            opens(frame([5]), ends()),
        )
        assert [e.offset async for e in db.replay("orders", start=3)] == [3, 4, 5]
        first, second = node.got(m.Replay)
        assert (first.start, first.place, first.follow) == (3, None, False)
        assert second.place == m.ReplayPlace(CUT, 5, 0)
        assert second.stream != first.stream


@both_backends
async def test_a_lost_connection_is_noticed_when_the_buffer_is_empty() -> None:
    """What had arrived is handed out; then the rest is asked for on a new connection."""
    async with node_and_client() as (node, db):
        node.script(m.Replay, opens(frame([0, 1])), opens(frame([2]), ends()))
        replay = db.replay("orders")
        found = [(await anext(replay)).offset]
        node.cut_all()
        found += [e.offset async for e in replay]
        assert found == [0, 1, 2]
        assert [message.place for message in node.got(m.Replay)] == [None, m.ReplayPlace(CUT, 2, 0)]


@both_backends
async def test_a_stream_that_cannot_be_opened_now_is_tried_again() -> None:
    """A connection that breaks instead of an answer is no different."""
    async with node_and_client() as (node, db):

        def refuses(peer: Peer, message: m.Message) -> None:
            assert isinstance(message, m.Replay)
            peer.say(m.Failed(message.request, "overloaded", "later", True, {}))

        node.script(m.Replay, refuses, cut, opens(frame([0]), ends()))
        assert [e.offset async for e in db.replay("orders")] == [0]


@both_backends
async def test_an_end_with_an_error_comes_after_the_events_before_it() -> None:
    """And it ends the iteration for good."""
    async with node_and_client() as (node, db):
        node.script(m.Replay, opens(frame([0, 1]), ends(NotFound("deleted"))))
        replay = db.replay("orders")
        found = [await anext(replay), *replay.take(10)]
        assert [event.offset for event in found] == [0, 1]
        with pytest.raises(NotFound, match="deleted"):
            await anext(replay)
        assert [event async for event in replay] == []


@both_backends
async def test_credit_goes_back_by_halves_and_when_the_buffer_is_empty() -> None:
    """All that was spent comes back, so the stream never runs dry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_AHEAD_BYTES", 1)
        patch.setattr(source, "_AHEAD_BYTES_MIN", 1000)
        async with node_and_client() as (node, db):
            frames = [frame([n]) for n in range(10)]
            node.script(m.Replay, opens(*frames))
            replay = db.replay("orders", partition=0)
            for n in range(10):
                assert (await anext(replay)).offset == n
            nbytes = sum(len(make(0).batch) for make in frames)
            [request] = node.got(m.Replay)
            given: list[int] = []
            while sum(given) < nbytes:
                given = [message.credit for message in node.got(m.ReplayCredit)]
                await anyio.lowlevel.checkpoint()
            assert (request.credit, sum(given)) == (1000, nbytes)
            assert len(given) <= 2


@both_backends
async def test_what_is_left_is_ended_at_the_node() -> None:
    """By forgetting the iterator, or by closing it."""
    async with node_and_client() as (node, db):
        node.script(m.Replay, *[opens(frame([0, 1]))] * 3)
        async for _ in db.replay("orders"):
            break
        async with aclosing(db.replay("orders")) as replay:
            await anext(replay)
        opened = [message.stream for message in node.got(m.Replay)]
        ended = await asked(node, m.ReplayEnd, 2)
        assert [message.stream for message in ended if isinstance(message, m.ReplayEnd)] == opened


@both_backends
async def test_following_begins_where_the_past_ends_and_has_no_cut() -> None:
    """One stream for what was committed, another for what comes."""
    async with node_and_client() as (node, db):
        node.script(
            m.Replay, opens(frame([0]), ends()), opens(frame([1]), frame([2]), until=NO_CUT)
        )
        replay = db.replay("orders", follow=True)
        events = [await anext(replay) for _ in range(3)]
        assert [event.offset for event in events] == [0, 1, 2]
        past, coming = node.got(m.Replay)
        assert (past.follow, coming.follow) == (False, True)
        assert coming.place == m.ReplayPlace(CUT, 1, 0)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (frame([0, 1], offsets=bytes(8)), "column offsets has 8 bytes, not 16"),
        (frame([0], positions=bytes(8)), "column positions"),
        (frame(range(50_000, 99_000)), "it had credit for"),
    ],
)
@both_backends
async def test_frames_that_break_the_rules_end_the_connection(
    wrong: Callable[[int], m.Replayed], why: str
) -> None:
    """Columns that do not agree, or more than the credit: an error, not wrong events."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_AHEAD_BYTES", 100_000)
        async with node_and_client() as (node, db):
            node.script(m.Replay, opens(wrong))
            with pytest.raises(ProtocolError, match=why):
                await anext(db.replay("orders"))
            assert (await db.topic("orders")).name == "orders"

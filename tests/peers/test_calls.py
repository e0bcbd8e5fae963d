"""Questions to peers: answered, failed at once when the peer is lost, and bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.testing.chance import Random
from tests.peers.memory_network import MemoryHosts
from tests.peers.test_connections import Node


async def _echo(peer: str, body: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return peer.encode() + body


async def _never(_peer: str, _body: bytes) -> bytes:
    await trio.sleep_forever()


@asynccontextmanager
async def _two(_clock: MockClock) -> AsyncIterator[tuple[Calls, Calls, MemoryHosts]]:
    hosts = MemoryHosts()
    async with trio.open_nursery() as nursery:
        calls = []
        for name, other in (("a", "b"), ("b", "a")):
            node = Node(hosts, name, other)
            calls.append(Calls(node.peers, Random(name)))
            calls[-1].serve("echo", _echo)
            calls[-1].serve("never", _never)
            await nursery.start(calls[-1].run)
            await nursery.start(node.run)
        await trio.sleep(1)
        yield calls[0], calls[1], hosts
        nursery.cancel_scope.cancel()


async def test_a_question_is_answered(autojump_clock: MockClock) -> None:
    """With who asked, and what; many at once."""
    async with _two(autojump_clock) as (a, b, _):
        assert await a.ask("b", "echo", b"!") == b"a!"
        answers = []

        async def ask(n: int) -> None:
            answers.append(await b.ask("a", "echo", b"%d" % n))

        async with trio.open_nursery() as nursery:
            for n in range(100):
                nursery.start_soon(ask, n)
        assert sorted(answers) == sorted(b"b%d" % n for n in range(100))


@pytest.mark.parametrize(("peer", "method"), [("nobody", "echo"), ("b", "no such method")])
async def test_what_nobody_answers_fails_at_once(
    autojump_clock: MockClock, peer: str, method: str
) -> None:
    """No deadline has to pass."""
    async with _two(autojump_clock) as (a, _, _):
        with trio.fail_after(1), pytest.raises(CallFailed):
            await a.ask(peer, method, b"")


async def test_a_lost_peer_fails_what_waits_for_it(autojump_clock: MockClock) -> None:
    """As soon as it is noticed."""
    async with _two(autojump_clock) as (a, _, hosts), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(CallFailed):
                await a.ask("b", "never", b"")

        nursery.start_soon(ask)
        await trio.sleep(0.1)
        hosts.isolate("a", ["b"])
        with trio.fail_after(5):
            while a._waiting:  # noqa: ASYNC110 - nothing says so but this
                await trio.sleep(0.1)


async def test_an_answer_that_was_lost_on_its_way_back_fails_its_question(
    autojump_clock: MockClock,
) -> None:
    """The way there held all the time: only the connection for answers is another one now."""
    async with _two(autojump_clock) as (a, _, _), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(CallFailed):
                await a.ask("b", "never", b"")

        nursery.start_soon(ask)
        await trio.sleep(0.1)
        a._peers._listener.drop("b")
        with trio.fail_after(2):
            while a._waiting:  # noqa: ASYNC110 - nothing says so but this
                await trio.sleep(0.01)
        assert a._peers.is_up("b")
        assert await a.ask("b", "echo", b"!") == b"a!"


async def test_a_peer_may_have_only_so_many_questions_open(autojump_clock: MockClock) -> None:
    """The next one fails, and the others are still being answered."""
    async with _two(autojump_clock) as (a, b, _), trio.open_nursery() as nursery:
        for _ in range(512):
            nursery.start_soon(a.ask, "b", "never", b"")
        await trio.sleep(0.5)
        with pytest.raises(CallFailed):
            await a.ask("b", "echo", b"")
        assert b._answering == {"a": 512}
        nursery.cancel_scope.cancel()

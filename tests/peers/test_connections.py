"""Peers over a network in memory: order, the newest connection, bounds, and strangers."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.peers.frames import Channel, framed
from chronosdb.node.peers.handshake import Self
from chronosdb.node.peers.listener import _STRANGERS_MAX
from chronosdb.node.peers.outbox import BYTES_MAX
from chronosdb.node.peers.peers import Peers
from chronosdb.node.peers.roster import Member
from chronosdb.testing.chance import Random
from tests.peers.memory_network import MemoryHosts

SECRET = b"the secret of the tests"


class Node:
    """One node's peers, and what it heard."""

    def __init__(self, hosts: MemoryHosts, name: str, others: str, host: str = "") -> None:
        self.host = host or name
        self.network = hosts.at(self.host)
        self.heard: list[tuple[str, bytes]] = []
        self.peers = Peers(Self("c1", name, f"birth{name}", SECRET), self.network, Random(name))
        self.peers.handle(Channel.RAFT, lambda peer, body: self.heard.append((peer, body)))
        self.peers.know({other: Member(f"{other}:1") for other in others})

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        listeners = await self.network.listen(self.host, 1)
        await self.peers.run(listeners, task_status)

    def send(self, peer: str, body: bytes) -> bool:
        return self.peers.send(peer, Channel.RAFT, body)


@asynccontextmanager
async def _two(_clock: MockClock) -> AsyncIterator[tuple[Node, Node, MemoryHosts]]:
    hosts = MemoryHosts()
    a, b = Node(hosts, "a", "b"), Node(hosts, "b", "a")
    async with trio.open_nursery() as nursery:
        await nursery.start(a.run)
        await nursery.start(b.run)
        await trio.sleep(1)
        yield a, b, hosts
        nursery.cancel_scope.cancel()


async def test_frames_arrive_in_order_both_ways(autojump_clock: MockClock) -> None:
    """Small ones and large ones."""
    async with _two(autojump_clock) as (a, b, _):
        bodies = [bytes([n]) * (n * 1000) for n in range(200)]
        assert all(a.send("b", body) for body in bodies)
        assert b.send("a", b"hello")
        await trio.sleep(1)
        assert b.heard == [("a", body) for body in bodies]
        assert a.heard == [("b", b"hello")]


async def test_what_is_sent_while_nobody_is_there_is_lost_at_once() -> None:
    """The sender knows, and does not wait."""
    hosts = MemoryHosts()
    a = Node(hosts, "a", "b")
    async with trio.open_nursery() as nursery:
        await nursery.start(a.run)
        assert not a.send("b", b"x")
        assert not a.send("nobody", b"x")
        nursery.cancel_scope.cancel()


async def test_a_slow_peer_costs_bounded_memory(autojump_clock: MockClock) -> None:
    """What does not fit is dropped; what is large is told to wait before that."""
    async with _two(autojump_clock) as (a, _, hosts):
        hosts.cut("a", "b")
        assert a.peers.has_room("b")
        sent = 0
        while a.send("b", b"x" * 1_000_000):
            sent += 1_000_000
        assert not a.peers.has_room("b")
        assert BYTES_MAX - 1_000_000 <= sent <= BYTES_MAX


async def test_a_network_that_is_back_is_noticed_within_seconds(
    autojump_clock: MockClock,
) -> None:
    """Whatever the cut swallowed, the connection is a new one."""
    async with _two(autojump_clock) as (a, b, hosts):
        hosts.isolate("a", ["b"])
        await trio.sleep(60)
        assert not a.peers.is_up("b")
        hosts.heal()
        await trio.sleep(5)
        assert a.send("b", b"again")
        await trio.sleep(1)
        assert b.heard == [("a", b"again")]


async def test_the_newest_connection_counts_and_an_older_one_is_dead(
    autojump_clock: MockClock,
) -> None:
    """What waited on the older one is never delivered after the newer one began."""
    async with _two(autojump_clock) as (a, b, hosts):
        hosts.isolate("a", ["b"])
        a.send("b", b"of the old connection")
        # The same node again, from elsewhere: as after a restart that its peer has not noticed.
        twin = Node(hosts, "a", "b", host="a2")
        async with trio.open_nursery() as nursery:
            await nursery.start(twin.run)
            await trio.sleep(0.3)
            twin.send("b", b"of the new one")
            await trio.sleep(0.1)
            hosts.heal()
            await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
        bodies = [body for _, body in b.heard]
        assert b"of the new one" in bodies
        assert b"of the old connection" not in bodies[bodies.index(b"of the new one") :]


async def test_a_peer_that_is_not_known_any_more_is_cut_off(autojump_clock: MockClock) -> None:
    """Both ways, at once."""
    async with _two(autojump_clock) as (a, b, _):
        b.peers.know({"a": Member("a:1", removed=True)})
        await trio.sleep(0.1)
        assert not b.send("a", b"x")
        a.send("b", b"y")
        await trio.sleep(3)
        assert b.heard == []
        assert a.peers.expelled is not None
        assert "removed" in str(a.peers.expelled)


async def test_a_peer_can_be_cut_off_in_the_middle_of_what_it_says(
    autojump_clock: MockClock,
) -> None:
    """What has arrived of it already is not delivered either."""
    async with _two(autojump_clock) as (a, b, _):
        heard = b.heard

        def hear(peer: str, body: bytes) -> None:
            heard.append((peer, body))
            b.peers.know({})

        b.peers._handlers[Channel.RAFT] = hear
        for n in range(5):
            a.send("b", b"%d" % n)
        await trio.sleep(1)
        assert heard == [("a", b"0")]


async def test_a_peer_that_makes_no_sense_is_cut_off(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A channel that nobody knows closes the connection, and says so."""
    caplog.set_level("INFO")
    async with _two(autojump_clock) as (a, b, _):
        a.peers.send("b", 200, b"")
        await trio.sleep(0.5)
        assert "channel 200 is not known" in caplog.text
        assert b.heard == []


class Marker:
    """Would be called by whoever unpickled it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("something was unpickled",))


HOSTILE = [
    b"",
    b"\0",
    b"\xff" * 64,
    b"GET / HTTP/1.1\r\n\r\n",
    framed(pickle.dumps(Marker())),
    pickle.dumps(Marker()),
    framed(b"\x96" + b"\xa1a" * 6),
    framed(b""),
    framed(b"x" * 1024) * 3,
]


@pytest.mark.parametrize("data", HOSTILE)
async def test_strangers_get_nowhere(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    """Their connection ends within seconds; the cluster's works on; nothing is ever unpickled."""
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("pickle.loads was called"))
    async with _two(autojump_clock) as (a, b, hosts):
        stream = await hosts.at("stranger").open_stream("b", 1)
        with trio.fail_after(10):
            try:
                await stream.send_all(data)
                while await stream.receive_some(1000):
                    pass
            except trio.BrokenResourceError:
                pass
        a.send("b", b"still here")
        await trio.sleep(1)
        assert b.heard == [("a", b"still here")]


async def test_only_so_many_strangers_at_once(autojump_clock: MockClock) -> None:
    """The oldest makes room for one more, and all of them are timed out."""
    async with _two(autojump_clock) as (_, b, hosts):
        streams = [await hosts.at("s").open_stream("b", 1) for _ in range(_STRANGERS_MAX + 1)]
        with trio.fail_after(1):
            assert await streams[0].receive_some(1) == b""
        assert len(b.peers._listener._strangers) == _STRANGERS_MAX
        with trio.fail_after(6):
            for stream in streams:
                assert await stream.receive_some(1) == b""
        assert not b.peers._listener._strangers


async def test_why_there_is_no_connection_is_said_once(
    autojump_clock: MockClock,  # noqa: ARG001 - lets the minute pass
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not at each of the many attempts."""
    hosts = MemoryHosts()
    a = Node(hosts, "a", "b")
    async with trio.open_nursery() as nursery:
        await nursery.start(a.run)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert caplog.text.count("no connection to peer b") == 1
    assert "cannot be reached: nobody listens" in caplog.text

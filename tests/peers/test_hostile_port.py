"""The peer port on real sockets, and people who mean harm: bounded memory, nothing unpickled, peers get in."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgpack
import pysyncobj.pickle
import pytest
import trio

from chronosdb.node.environment import TcpNetwork
from chronosdb.node.peers import listener
from chronosdb.node.peers.calls import Calls
from chronosdb.node.peers.frames import FRAME_BYTES_MAX, Channel, FrameReader, Sealer, framed
from chronosdb.node.peers.handshake import Dialling, Self
from chronosdb.node.peers.peers import Peers
from chronosdb.node.peers.raft_channel import RaftChannel
from chronosdb.node.peers.roster import Member
from chronosdb.node.peers.streams import read_frame
from chronosdb.testing.chance import Random

SECRET = b"the secret of the tests"
#: What strangers may make a node hold, all together.
MEMORY_MAX = 4 * 1024 * 1024


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


class Port:
    """A node that listens for the peer "a", and nothing else."""

    def __init__(self) -> None:
        self.me = Self("c1", "b", "birth b", SECRET)
        self.peers = Peers(self.me, TcpNetwork(), Random(1))
        self.peers.know({"a": Member("")})
        RaftChannel(self.peers, lambda *_: None)
        self.calls = Calls(self.peers, Random(2))
        self.heard = trio.Event()
        self.peers.handle(100, lambda *_: self.heard.set())
        self.number = 0
        #: Closed with the port.
        self.dialled: list[trio.SocketStream] = []

    async def dial(self) -> trio.SocketStream:
        self.dialled.append(await trio.open_tcp_stream("127.0.0.1", self.number))
        return self.dialled[-1]

    async def introduced(self) -> tuple[trio.SocketStream, Sealer]:
        """A connection of the peer "a": whatever it says now is sealed."""
        stream, reader = await self.dial(), FrameReader()
        dialling = Dialling(Self("c1", "a", "birth a", SECRET), "b", _Anybody(), bytes(32))
        await stream.send_all(framed(dialling.hello))
        await stream.send_all(framed(dialling.prove(await read_frame(stream, reader))))
        return stream, Sealer(dialling.conclude(await read_frame(stream, reader)).dialler)

    async def still_works(self) -> None:
        """A peer gets in, and is heard, within a second."""
        with trio.fail_after(1):
            stream, sealer = await self.introduced()
            await stream.send_all(sealer.seal(100, b""))
            await self.heard.wait()


class _Anybody:
    def judge(self, _node: str, _birth: str) -> None:
        return None


@asynccontextmanager
async def _port() -> AsyncIterator[Port]:
    async with trio.open_nursery() as nursery:
        port = Port()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port.number = listeners[0].socket.getsockname()[1]
        await nursery.start(port.calls.run)
        await nursery.start(port.peers.run, listeners)
        yield port
        for stream in port.dialled:
            await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


async def _closed(stream: trio.SocketStream) -> None:
    """Wait until the other side has ended this connection."""
    with trio.fail_after(2), suppress(trio.BrokenResourceError):
        while await stream.receive_some(4096):
            pass


def _hello(*more: object) -> bytes:
    fields = ["hello", "chronosdb-peer/1", "c1", "a", "b", "", bytes(32), *more]
    head: bytes = msgpack.packb(fields)
    return head


def _nested(depth: int) -> bytes:
    """A hello with one field too many, which is a list in a list in a list…"""
    plain = _hello(None)
    return plain[:-1] + b"\x91" * depth + plain[-1:]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        (FRAME_BYTES_MAX).to_bytes(4, "big"),
        (1025).to_bytes(4, "big") + bytes(1025),
        framed(b""),
        framed(b"\xc6\x7f\xff\xff\xff"),
        framed(_nested(1024 - len(_hello(None)))),
        framed(_hello()) + framed(msgpack.packb(["proof", bytes(32)])),
        framed(_hello()) + b"\xff\xff\xff\xff",
        framed(_hello()) * 3,
    ],
    ids=["4 GiB", "8 MiB", "1,025 bytes", "nothing", "a length inside", "depth", "no proof",
         "4 GiB after the hello", "three hellos"],
)  # fmt: skip
async def test_strangers_are_shown_the_door(data: bytes) -> None:
    """At once, and the port works on."""
    async with _port() as port:
        stranger = await port.dial()
        await stranger.send_all(data)
        await _closed(stranger)
        await port.still_works()


@pytest.mark.parametrize("introduced", [False, True])
async def test_nothing_is_ever_unpickled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, introduced: bool
) -> None:
    """Neither of a stranger nor, on any channel, of somebody who knows the secret."""
    bomb = pickle.dumps(Bomb(tmp_path / "marker"), protocol=2)
    for module in (pickle, pysyncobj.pickle):
        monkeypatch.setattr(module, "loads", lambda *_: pytest.fail("pickle.loads was called"))
    async with _port() as port:
        for channel in Channel if introduced else (0,):
            stream, sealer = await port.introduced() if introduced else (await port.dial(), None)
            await stream.send_all(sealer.seal(channel, bomb) if sealer else framed(bomb))
            await stream.send_all(bomb)
            await _closed(stream)
        await port.still_works()
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("channel", "body"),
    [
        (Channel.RAFT, b"\x81\xa4type" * 5000),
        (Channel.RAFT, b"\xdf\xff\xff\xff\xff"),
        (Channel.CALLS, b"\x94\0\1\xa4echo" + b"\x91" * 5000),
        (Channel.CALLS, b"\xdd\xff\xff\xff\xff"),
        (77, b""),
    ],
)
async def test_a_peer_that_sends_bombs_loses_its_connection_only(channel: int, body: bytes) -> None:
    """Nesting and lengths inside a frame that is sealed well."""
    async with _port() as port:
        stream, sealer = await port.introduced()
        await stream.send_all(sealer.seal(channel, body))
        await _closed(stream)
        await port.still_works()


async def test_a_byte_now_and_then_buys_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake has one deadline."""
    monkeypatch.setattr(listener, "_HANDSHAKE_S", 0.2)
    async with _port() as port:
        stranger = await port.dial()
        with trio.fail_after(2), suppress(trio.BrokenResourceError):
            for byte in framed(_hello()):
                await stranger.send_all(bytes([byte]))
                await trio.sleep(0.05)
        await _closed(stranger)
        await port.still_works()


@pytest.mark.slow
async def test_two_hundred_half_open_connections_keep_no_peer_out() -> None:
    """Not even when they stay and new ones come: the oldest makes room. Memory is bounded."""
    async with _port() as port:
        await port.still_works()
        tracemalloc.start()
        for _ in range(200):
            stranger = await port.dial()
            await stranger.send_all((1024).to_bytes(4, "big") + bytes(1000))
        await trio.testing.wait_all_tasks_blocked(0.05)
        port.heard = trio.Event()
        await port.still_works()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY_MAX
        assert len(port.peers._listener._strangers) <= listener._STRANGERS_MAX


async def test_an_announced_frame_takes_no_memory_until_it_comes() -> None:
    """Of a peer, too: eight megabytes are promised, and a few bytes sent."""
    async with _port() as port:
        stream, _ = await port.introduced()
        tracemalloc.start()
        await stream.send_all(FRAME_BYTES_MAX.to_bytes(4, "big") + bytes(100))
        await trio.testing.wait_all_tasks_blocked(0.05)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1024 * 1024
        await port.still_works()

"""The cables between the nodes of a local cluster: each can be cut, in one direction or both.

Every node tells its peers the address of a forwarder of ours. The first frame of a connection says,
in the clear, which node dials; so each forwarder knows both ends of whatever it carries. What is cut
is neither lost nor delivered: it waits, as in TCP, and nobody is told.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

import msgspec
import trio

from chronosdb.node.peers.frames import BadFrame, FrameReader
from chronosdb.node.peers.handshake import Hello
from chronosdb.node.peers.streams import read_frame

_READ_BYTES: Final = 256 * 1024
_HELLO = msgspec.msgpack.Decoder(Hello)


class Cables:
    """Which node hears which."""

    def __init__(self) -> None:
        self._cut: set[tuple[str, str]] = set()
        self._changed = trio.Event()

    def cut(self, sender: str, receiver: str) -> None:
        """From now on nothing gets from one to the other."""
        self._cut.add((sender, receiver))

    def mend(self) -> None:
        """Everything gets through again, what waited first."""
        self._cut.clear()
        self._changed.set()
        self._changed = trio.Event()

    async def passage(self, sender: str, receiver: str) -> None:
        """Return when something can get from one to the other."""
        while (sender, receiver) in self._cut:
            await self._changed.wait()

    async def forward(
        self,
        node: str,
        listen: int,
        port: int,
        task_status: trio.TaskStatus[list[trio.SocketListener]],
    ) -> None:
        """Carry what is said to `node`: from our port `listen` to its `port`, until cancelled."""
        carry = partial(self._carry, node, port)
        await trio.serve_tcp(carry, listen, host="127.0.0.1", task_status=task_status)

    async def _carry(self, node: str, port: int, dialler: trio.SocketStream) -> None:
        reader = FrameReader()
        with suppress(OSError, trio.BrokenResourceError, BadFrame, msgspec.MsgspecError):
            first = await read_frame(dialler, reader)
            sender = _HELLO.decode(first).sender
            await self.passage(sender, node)
            async with await trio.open_tcp_stream("127.0.0.1", port) as acceptor:
                await acceptor.send_all(len(first).to_bytes(4, "big") + first)
                async with trio.open_nursery() as both:
                    scope = both.cancel_scope
                    both.start_soon(self._pump, (sender, dialler), (node, acceptor), scope)
                    both.start_soon(self._pump, (node, acceptor), (sender, dialler), scope)

    async def _pump(
        self,
        source: tuple[str, trio.SocketStream],
        target: tuple[str, trio.SocketStream],
        scope: trio.CancelScope,
    ) -> None:
        """One direction of a connection; its end, when it gets through, is the end of both."""
        (sender, from_stream), (receiver, to_stream) = source, target
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await from_stream.receive_some(_READ_BYTES):
                await self.passage(sender, receiver)
                await to_stream.send_all(data)
        await self.passage(sender, receiver)
        scope.cancel()

"""Handshake frames over a stream, for both sides of a connection."""

from __future__ import annotations

from collections.abc import Callable

import trio

from chronosdb.node.peers.frames import FrameReader
from chronosdb.node.peers.handshake import NONCE_BYTES

#: Read at a time from whoever has not proved who it is, and for single frames.
_READ_BYTES = 4096


async def read_frame(stream: trio.abc.ReceiveStream, reader: FrameReader) -> bytes:
    """The next frame.

    Raises:
        BadFrame: it is too long.
        trio.BrokenResourceError: the stream ended.
    """
    while (frame := reader.next_frame()) is None:
        data = await stream.receive_some(_READ_BYTES)
        if not data:
            raise trio.BrokenResourceError("the peer closed the connection")
        reader.receive(data)
    return frame


def nonce(random_bytes: Callable[[int], bytes]) -> bytes:
    """Fresh bytes for one handshake."""
    return random_bytes(NONCE_BYTES)

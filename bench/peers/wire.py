"""Talking to a server over a plain socket: requests in flight, replies counted."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from bench.errors import BenchError

RECEIVE_BYTES: Final = 1 << 20
#: No reply takes so long.
PATIENCE_S: Final = 60.0

#: Takes what was received; says how many events it acks.
Count: TypeAlias = Callable[[bytes], int]


def dial(port: int) -> socket.socket:
    """A connection to a server of this machine.

    Raises:
        OSError: nobody listens.
    """
    wire = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def receive(wire: socket.socket) -> bytes:
    """What is there, or the next bytes to come.

    Raises:
        BenchError: the server ended.
        TimeoutError: nothing came for the socket's timeout.
    """
    data = wire.recv(RECEIVE_BYTES)
    if not data:
        raise BenchError("the server closed the connection")
    return data


def pipeline(
    wire: socket.socket, requests: Iterable[tuple[bytes, int]], count: Count, window: int
) -> None:
    """Send requests, each of which is owed some acks, with at most `window` acks outstanding.

    Replies are read while a request is sent: a server that waits for its replies to be read must not
    wait for ever.
    """
    owed = 0
    for data, acks in requests:
        while owed and owed + acks > window:
            owed -= count(receive(wire))
        owed += acks - _send(wire, data, count)
    while owed > 0:
        owed -= count(receive(wire))


def _send(wire: socket.socket, data: bytes, count: Count) -> int:
    """Send all; how many acks came meanwhile."""
    acked, rest = 0, memoryview(data)
    while rest:
        readable, writable, _ = select.select([wire], [wire], [], PATIENCE_S)
        if readable:
            acked += count(receive(wire))
        if writable:
            rest = rest[wire.send(rest) :]
    return acked


class Lines:
    """Counts reply lines, each of which must start with `good`."""

    def __init__(self, good: bytes) -> None:
        self._good = good
        self._rest = b""

    def __call__(self, data: bytes) -> int:
        """How many lines are complete now.

        Raises:
            BenchError: one starts otherwise.
        """
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            if not line.startswith(self._good):
                raise BenchError(f"the server said: {line[:200].decode(errors='replace')}")
        return len(lines)

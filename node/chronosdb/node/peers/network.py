"""The network as peers use it: a node also dials. The real one is `environment.TcpNetwork`."""

from __future__ import annotations

from typing import Protocol

import trio

from chronosdb.node.environment import Network


class PeerNetwork(Network, Protocol):
    """Listens and dials."""

    async def open_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        """Raises OSError when nobody answers there."""
        ...


def split_address(address: str) -> tuple[str, int]:
    """The host and the port of "host:port" or "[v6]:port".

    Raises:
        OSError: it is neither, so nobody can be reached there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise OSError(f"{address!r} is no host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)

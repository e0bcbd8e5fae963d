"""Where a peer is."""

from __future__ import annotations


def split_address(address: str) -> tuple[str, int]:
    """The host and the port of "host:port" or "[v6]:port".

    Raises:
        OSError: it is neither, so nobody can be reached there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise OSError(f"{address!r} is no host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)

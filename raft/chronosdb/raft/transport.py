"""The seam to the network: how a replica's messages leave. They come in by `Replica.deliver`.

What Raft relies on: messages of one peer arrive in the order they were sent or not at all, and
once a new connection to a peer delivers, an older one never does again.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

#: A Raft message: plain data, checked by `messages.check` where it comes in.
Message: TypeAlias = dict[str, Any]


class Transport(Protocol):
    """Sends messages to peers."""

    def send(self, peer: str, message: Message, /) -> bool:
        """Queue a message without blocking; False if it is dropped, which Raft can bear."""

    def has_room(self, peer: str, /) -> bool:
        """Whether a large message may be queued now, or rather after those that wait already."""


class NoPeers:
    """The transport of a cluster of one."""

    def send(self, peer: str, message: Message, /) -> bool:
        """Never called: there is nobody to send to."""
        raise AssertionError(f"a message to {peer}, though there are no peers: {message}")

    def has_room(self, peer: str, /) -> bool:
        """Never asked, for the same reason."""
        raise AssertionError(f"room for {peer}, though there are no peers")

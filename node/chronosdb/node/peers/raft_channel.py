"""Raft messages over the peers' connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from chronosdb.node.peers.frames import BadFrame, Channel
from chronosdb.node.peers.peers import Peers
from chronosdb.raft import BadMessageError, Message

_DECODER: msgspec.msgpack.Decoder[dict[str, Any]] = msgspec.msgpack.Decoder(dict[str, Any])


class RaftChannel:
    """Implements `chronosdb.raft.Transport`; `deliver` gets what comes in."""

    def __init__(self, peers: Peers, deliver: Callable[[str, Message], None]) -> None:
        self._peers = peers
        self._deliver = deliver
        peers.handle(Channel.RAFT, self._receive)

    def send(self, peer: str, message: Message) -> bool:
        """See `chronosdb.raft.Transport.send`."""
        return self._peers.send(peer, Channel.RAFT, msgspec.msgpack.encode(message))

    def has_room(self, peer: str) -> bool:
        """See `chronosdb.raft.Transport.has_room`."""
        return self._peers.has_room(peer)

    def _receive(self, peer: str, body: bytes) -> None:
        try:
            self._deliver(peer, _DECODER.decode(body))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadMessageError) as error:
            raise BadFrame(f"no Raft message: {error}") from None

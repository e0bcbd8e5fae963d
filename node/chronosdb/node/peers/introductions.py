"""Whom other nodes know: asked by a node that hears of no leader, for it may not know whoever leads.

A node that joins is told of some others only, and one that comes back after long of those that there were. It
would refuse the leader, if that is none of them, and could not answer it either.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import trio

from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.node.peers.roster import Member

logger = logging.getLogger(__name__)

#: Longer than the cluster takes to elect: as a rule nobody is asked.
_PATIENCE_S: Final = 1.0
_DECODER: Final = msgspec.msgpack.Decoder(dict[str, Member])


class Introductions:
    """Of one node: asks, and answers."""

    def __init__(
        self,
        calls: Calls,
        known: Callable[[], Mapping[str, Member]],
        meet: Callable[[Mapping[str, Member]], None],
    ) -> None:
        self._calls = calls
        self._known = known
        self._meet = meet
        calls.serve("roster", self._answer)

    async def run(self, is_lost: Callable[[], bool]) -> None:
        """Ask again and again while `is_lost`, until cancelled."""
        while True:
            await trio.sleep(_PATIENCE_S)
            for node, member in list(self._known().items()):
                if is_lost() and not member.removed:
                    await self._ask(node)

    async def _ask(self, node: str) -> None:
        with trio.move_on_after(_PATIENCE_S):
            try:
                told = _DECODER.decode(await self._calls.ask(node, "roster", b""))
            except (CallFailed, msgspec.MsgspecError, UnicodeDecodeError) as error:
                logger.debug("%s does not say whom it knows: %s", node, error)
            else:
                self._meet(told)

    async def _answer(self, _peer: str, _body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return msgspec.msgpack.encode(dict(self._known()))

"""Tells the node that leads the metadata which members are attached here: on a change, and on and on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.members.reports import (
    METHOD,
    Attached,
    Reception,
    Report,
    decode_reception,
    encode_report,
)
from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.node.peers.chance import Chance
from chronosdb.node.peers.frames import FRAME_BYTES_MAX

logger = logging.getLogger(__name__)

#: Changes gather for so long.
_GATHER_S: Final = 0.1
#: A report is repeated so often. Three that are lost, and the members are taken for gone.
_INTERVAL_S: Final = 0.75
#: After one that was not received.
_RETRY_S: Final = 0.15
_ANSWER_S: Final = 1.0
_BYTES_MAX: Final = FRAME_BYTES_MAX // 2


class Leadership(Protocol):
    """What is needed of the metadata."""

    @property
    def leader(self) -> str | None:
        """The node that leads them."""
        ...


class Reporter:
    """Reports the members of one node."""

    def __init__(
        self,
        me: str,
        metadata: Leadership,
        calls: Calls,
        random: Chance,
        *,
        attached: Callable[[], list[Attached]],
        here: Callable[[str, Report], Reception],
    ) -> None:
        """`attached` says who is; `here` takes the report where this node itself leads."""
        self._me = me
        self._metadata = metadata
        self._calls = calls
        self._attached = attached
        self._here = here
        self._life = random.getrandbits(62)
        self._number = 0
        self._said: list[Attached] | None = None
        #: Who knows the report with the present number.
        self._known_by: str | None = None
        self._changed = Signal()

    def changed(self) -> None:
        """There may be other members."""
        self._changed.set()

    async def run(self) -> None:
        """Report, for ever."""
        while True:
            received = await self._report()
            with trio.move_on_after(_INTERVAL_S if received else _RETRY_S):
                await self._changed.wait()
            await trio.sleep(_GATHER_S)

    async def _report(self) -> bool:
        attached = self._attached()
        if attached != self._said:
            self._number += 1
            self._said = attached
            self._known_by = None
        leader = self._metadata.leader
        if leader is None:
            return False
        if leader != self._known_by:
            return await self._say(leader, attached)
        reception = await self._tell(leader, None)
        if reception is Reception.UNKNOWN:
            return await self._say(leader, attached)
        return reception is Reception.KNOWN

    async def _say(self, leader: str, attached: list[Attached]) -> bool:
        """Send all of it; whether that is all there is to do for now."""
        if len(encode_report(Report(self._life, self._number, attached))) > _BYTES_MAX:
            logger.error("more members are attached than a report can name: nobody hears of them")
            return True
        reception = await self._tell(leader, attached)
        self._known_by = leader if reception is Reception.KNOWN else None
        return reception is Reception.KNOWN

    async def _tell(self, leader: str, attached: list[Attached] | None) -> Reception:
        report = Report(self._life, self._number, attached)
        if leader == self._me:
            return self._here(self._me, report)
        body = encode_report(report)
        with trio.move_on_after(_ANSWER_S):
            try:
                return decode_reception(await self._calls.ask(leader, METHOD, body))
            except CallFailed as error:
                logger.debug("members: %s", error)
        return Reception.NOT_MINE

"""Waiting until a topic's partitions are served, on whatever nodes: each leader is asked, and waits.

Whoever made a topic wants to publish next. That the metadata name a leader does not mean that it serves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
import trio
from msgspec import Meta

from chronosdb.node.metadata import Metadata
from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.raft import NOBODY, TopicInfo
from chronosdb.wire.errors import NotFound, Overloaded

logger = logging.getLogger(__name__)

_METHOD: Final = "serving"
_PATIENCE_S: Final = 8.0
#: How long a leader that was asked waits, before it says what it does not serve.
_ANSWER_S: Final = 2.0
_LOOK_S: Final = 0.02
_AGAIN_S: Final = 0.05
_INDICES_MAX: Final = 1024


class _Question(msgspec.Struct, frozen=True, array_like=True):
    topic_id: int
    partitions: Annotated[list[int], Meta(max_length=_INDICES_MAX)]


_QUESTIONS: Final = msgspec.msgpack.Decoder(_Question)
_YES: Final = b"\xc3"
_NO: Final = b"\xc2"


class Serving:
    """Asks leaders whether they serve, and answers for this node."""

    def __init__(
        self,
        node_id: str,
        metadata: Metadata,
        calls: Calls,
        serves: Callable[[int, int], bool],
    ) -> None:
        self._node_id = node_id
        self._metadata = metadata
        self._calls = calls
        #: Whether a partition, by topic id and index, is led here and serves.
        self._serves = serves
        calls.serve(_METHOD, self._answer)

    async def everywhere(self, topic: str) -> None:
        """Return when every partition of the topic is served by its leader.

        Raises:
            Overloaded: that takes too long.
            NotFound: it was deleted meanwhile.
        """
        with trio.move_on_after(_PATIENCE_S):
            while waiting := await self._not_served(topic):
                logger.debug("topic %s: not served yet are %s", topic, waiting)
                await trio.sleep(_AGAIN_S)
            return
        raise Overloaded(f"topic {topic!r} exists, but not all of it has a leader yet; try again")

    async def _not_served(self, topic: str) -> list[int]:
        """The partitions whose leader did not say that it serves them, if they have one."""
        info = self._metadata.view.topics.get(topic)
        if info is None:
            raise NotFound(f"topic {topic!r} was deleted")
        led: dict[str, list[int]] = {}
        for index, leader in enumerate(info.leaders):
            led.setdefault(leader, []).append(index)
        missing = led.pop(NOBODY, [])
        async with trio.open_nursery() as nursery:
            for leader, indices in led.items():
                nursery.start_soon(self._ask, leader, info, indices, missing)
        return missing

    async def _ask(
        self, leader: str, info: TopicInfo, indices: list[int], missing: list[int]
    ) -> None:
        """Add to `missing` what the leader does not serve, or does not answer for."""
        question = msgspec.msgpack.encode(_Question(info.id, indices))
        if leader == self._node_id:
            answer = await self._answer(leader, question)
        else:
            try:
                answer = await self._calls.ask(leader, _METHOD, question)
            except CallFailed as error:
                logger.debug("whether %s serves: %s", leader, error)
                answer = _NO
        if answer != _YES:
            missing.extend(indices)

    async def _answer(self, _peer: str, body: bytes) -> bytes:
        try:
            question = _QUESTIONS.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _NO
        with trio.move_on_after(_ANSWER_S):
            while not all(self._serves(question.topic_id, p) for p in question.partitions):  # noqa: ASYNC110
                # What has to happen for it is done by several parts; it takes milliseconds.
                await trio.sleep(_LOOK_S)
            return _YES
        return _NO

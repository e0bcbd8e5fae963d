"""What a client's messages about topics do, and who is told that other nodes lead one now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from chronosdb.node.broker import Broker
from chronosdb.raft import TopicInfo
from chronosdb.wire import messages as m

#: Topics that one client hears of; for others it finds out when it is refused.
_FOLLOWED_MAX: Final = 1_000


class TopicRequests:
    """The requests of one connection about topics."""

    def __init__(
        self,
        broker: Broker,
        send: Callable[[m.Message], None],
        answer: Callable[[m.Message], None],
    ) -> None:
        self._broker = broker
        self._send = send
        self._answer = answer
        #: The topics that this client deals with.
        self._followed: set[str] = set()

    def quick_handlers(self) -> dict[type, Callable[[Any], None]]:
        """What to do with each message that is answered at once."""
        return {m.ListTopics: self._list, m.DescribeTopic: self._describe}

    def handlers(self) -> dict[type, Callable[[Any], Awaitable[None]]]:
        """What to do with each message that has to wait for others."""
        return {m.CreateTopic: self._create}

    def follow(self, topic: str) -> None:
        """The client deals with this topic: it is told when other nodes lead it."""
        if topic not in self._followed and len(self._followed) < _FOLLOWED_MAX:
            self._followed.add(topic)

    def leaders_changed(self, topics: frozenset[str]) -> None:
        """Other nodes lead partitions of these topics now, and the metadata here show it."""
        for topic in sorted(self._followed & topics):
            self._send(m.LeadersChanged(topic))

    def _list(self, message: m.ListTopics) -> None:
        topics = [self._shown(info) for info in self._broker.topics()]
        self._answer(m.TopicsReply(message.request, topics))

    def _describe(self, message: m.DescribeTopic) -> None:
        self._reply(message.request, self._broker.topic(message.name), created=False)

    async def _create(self, message: m.CreateTopic) -> None:
        info, created = await self._broker.create_topic(
            message.name, message.partitions, message.settings
        )
        self._reply(message.request, info, created=created)

    def _reply(self, request: int, info: TopicInfo, *, created: bool) -> None:
        self.follow(info.name)
        broker = self._broker
        self._answer(
            m.TopicReply(request, self._shown(info), created, broker.addresses(), broker.version)
        )

    def _shown(self, info: TopicInfo) -> m.TopicInfo:
        leaders = self._broker.leaders(info)
        return m.TopicInfo(
            info.name, info.partitions, dict(info.settings), leaders, info.created_ms
        )

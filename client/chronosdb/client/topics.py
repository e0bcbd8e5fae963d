"""What the client knows about topics, so that a publish need not ask each time."""

from __future__ import annotations

from chronosdb.client.link import Link
from chronosdb.wire import messages as m

#: Beyond this many topics the oldest entry is forgotten.
MAX_KNOWN = 10_000


class Topics:
    """Topics by name, as the node last described them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._known: dict[str, m.TopicInfo] = {}

    async def partitions(self, name: str) -> int:
        """How many partitions the topic has; asks the node only the first time.

        Raises:
            NotFound: no such topic.
        """
        known = self._known.get(name) or await self.describe(name)
        return known.partitions

    async def describe(self, name: str) -> m.TopicInfo:
        """The topic as it is now; raises NotFound."""
        reply = await self._link.call(lambda request: m.DescribeTopic(request, name), m.TopicReply)
        self.learn(reply.topic)
        return reply.topic

    def learn(self, topic: m.TopicInfo) -> None:
        """Remember `topic`."""
        self._known[topic.name] = topic
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def forget(self, name: str) -> None:
        """The node no longer knows the topic as we do."""
        self._known.pop(name, None)

"""What the client knows about topics, so that a publish need not ask each time."""

from __future__ import annotations

from chronosdb.client.cluster import Cluster
from chronosdb.client.leaders import MAX_KNOWN
from chronosdb.wire import messages as m


class Topics:
    """Topics by name, as the node last described them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
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
        reply = await self._cluster.call(
            lambda request: m.DescribeTopic(request, name), m.TopicReply
        )
        self.learn(reply)
        return reply.topic

    def learn(self, reply: m.TopicReply) -> None:
        """Remember the topic that a node has described."""
        self._known[reply.topic.name] = reply.topic
        self._cluster.learn(reply)
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def forget(self, name: str) -> None:
        """The node no longer knows the topic as we do."""
        self._known.pop(name, None)
        self._cluster.leaders.forget(name)

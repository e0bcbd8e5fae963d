"""Which node leads which partition, as far as this client was told. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from chronosdb.client.signal import Signal
from chronosdb.wire import messages as m

#: Beyond this many topics the oldest entry is forgotten.
MAX_KNOWN: Final = 10_000


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class _Topic:
    """`leaders` by partition; "": the node that was asked, or of a cluster that nobody does."""

    leaders: Sequence[str]
    version: int


class Leaders:
    """The leaders of each topic that was described. What it says may be out of date at any time."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        #: Fires when a topic's leaders have changed.
        self.changed = Signal()

    def of(self, partition: Partition) -> str:
        """The address of the node that leads a partition; "": any node, as far as is known."""
        topic = self._topics.get(partition.topic)
        if topic is None or partition.number >= len(topic.leaders):
            return ""
        return topic.leaders[partition.number]

    def all(self, topic: str) -> Sequence[str]:
        """The leaders of a topic's partitions; none of a topic that was not described."""
        known = self._topics.get(topic)
        return () if known is None else known.leaders

    def learn(self, reply: m.TopicReply) -> bool:
        """A node has described a topic; whether that is news. An answer from an older view is none."""
        topic, version = reply.topic, reply.version
        known = self._topics.get(topic.name)
        if known is not None and version < known.version:
            return False
        self._topics[topic.name] = _Topic(tuple(topic.leaders), version)
        if len(self._topics) > MAX_KNOWN:
            del self._topics[next(iter(self._topics))]
        if tuple(topic.leaders) == (() if known is None else known.leaders):
            return False
        self.changed.fire()
        return True

    def forget(self, topic: str) -> None:
        """There is no such topic any more."""
        self._topics.pop(topic, None)

    def clear(self) -> None:
        """All of it was about another cluster."""
        self._topics.clear()

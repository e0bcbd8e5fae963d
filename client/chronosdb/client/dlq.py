"""Dead letters: events that used up their attempts; looked at, sent once more, or given up.

Redriving is publishing and then settling. The new event's id is made from the dead letter, so that
whatever is cut short can be done again: the second time the event is a duplicate.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

import anyio

from chronosdb.client.arguments import check_count, check_rate
from chronosdb.client.cluster import Cluster
from chronosdb.client.dead_letters import PAGE_ROWS, DeadLetter, Filter, Found, Letters, Pages
from chronosdb.client.leaders import Partition
from chronosdb.client.publisher import IN_FLIGHT_BYTES, publish_request
from chronosdb.client.runs import encode_runs, runs_of
from chronosdb.client.topics import Topics
from chronosdb.wire import Row, encode_batch, partition_for
from chronosdb.wire import messages as m
from chronosdb.wire.event import epoch_ms
from chronosdb.wire.letters import dead_letter_topic

#: With a rate, letters go out in so many portions a second at most.
_PORTIONS_A_SECOND: Final = 10


class DeadLetters:
    """The dead letters of every topic; `topic` is where the events were, or its dead-letter topic.

    An id is a letter's own, or that of its event. A letter that was redriven or purged is gone from
    here; `reset_group("….dlq", "chronos.redrive", to="earliest")` brings all of a topic's back.
    """

    def __init__(self, cluster: Cluster, topics: Topics) -> None:
        self._cluster = cluster
        self._topics = topics

    def list(
        self, topic: str, *, group: str | None = None, limit: int | None = None
    ) -> AsyncIterator[DeadLetter]:
        """The letters, oldest first in each partition; only those of `group` if one is given.

        Raises:
            NotFound: no such topic.
        """
        checked = None if limit is None else check_count("limit", limit, 1, 2**63 - 1)
        return Letters(self._pages(topic, Filter(group=group)), checked)

    async def inspect(self, topic: str, message_id: str) -> DeadLetter | None:
        """The first letter with this id, None if there is none.

        Raises:
            NotFound: no such topic.
        """
        async for page in self._pages(topic, Filter(frozenset({message_id}))):
            for found in page:
                return found.letter
        return None

    async def redrive(
        self,
        topic: str,
        *,
        ids: Iterable[str] | None = None,
        group: str | None = None,
        rate: float | None = None,
    ) -> int:
        """Publish the events once more, due now, under new ids; how many.

        All of them, or those with these `ids`, of this `group`; at most `rate` a second. Every group
        of the topic gets them, also those that had settled them. May be cut short and called again.

        Raises:
            NotFound: no such topic.
            InvalidArgument: `rate` is no number above 0.
        """
        pace = None if rate is None else check_rate(rate)
        size = PAGE_ROWS if pace is None else max(1, int(pace / _PORTIONS_A_SECOND))
        count, next_s = 0, anyio.current_time()
        async for page in self._pages(topic, _filter(ids, group)):
            for start in range(0, len(page), size):
                portion = page[start : start + size]
                await anyio.sleep_until(next_s)
                next_s = anyio.current_time() + (0 if pace is None else len(portion) / pace)
                await self._publish(portion)
                await self._settle(topic, portion, "redriven")
                count += len(portion)
        return count

    async def purge(
        self,
        topic: str,
        *,
        ids: Iterable[str] | None = None,
        group: str | None = None,
        before: dt.datetime | int | None = None,
    ) -> int:
        """Give letters up: all, or those with these `ids`, of this `group`, from `before` a time.

        Returns:
            How many.

        Raises:
            NotFound: no such topic.
            TypeError: a naive datetime.
        """
        before_ms = None if before is None else epoch_ms(before)
        count = 0
        async for page in self._pages(topic, _filter(ids, group, before_ms)):
            await self._settle(topic, page, "purged")
            count += len(page)
        return count

    def _pages(self, topic: str, chosen: Filter) -> Pages:
        return Pages(self._cluster, self._topics, topic, chosen)

    async def _publish(self, letters: Sequence[Found]) -> None:
        rows: defaultdict[Partition, list[Row]] = defaultdict(list)
        for found in letters:
            partitions = await self._topics.partitions(found.letter.topic)
            number = partition_for(found.letter.key, found.row.message_id, partitions)
            rows[Partition(found.letter.topic, number)].append(found.row)
        batches = [(where, memoryview(encode_batch(some))) for where, some in rows.items()]
        asks = ((where, publish_request(where, batch), len(batch)) for where, batch in batches)
        await self._cluster.call_all(asks, m.Published, IN_FLIGHT_BYTES)

    async def _settle(self, topic: str, letters: Sequence[Found], outcome: str) -> None:
        positions: defaultdict[int, list[int]] = defaultdict(list)
        for found in letters:
            positions[found.partition].append(found.position)
        for number, some in positions.items():
            partition = Partition(dead_letter_topic(topic), number)
            ask = _settle(partition, encode_runs(runs_of(some)), outcome)
            await self._cluster.call(ask, m.Done, partition)


def _filter(ids: Iterable[str] | None, group: str | None, before_ms: int | None = None) -> Filter:
    if isinstance(ids, str):  # an iterable of its letters
        raise TypeError(f"ids must be several ids, such as [{ids!r}], not one str")
    return Filter(None if ids is None else frozenset(ids), group, before_ms)


def _settle(partition: Partition, runs: memoryview, outcome: str) -> Callable[[int], m.Message]:
    topic, number = partition
    return lambda request: m.SettleDeadLetters(request, topic, number, runs, outcome)

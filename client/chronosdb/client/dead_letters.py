"""Reading dead letters: page by page, each with the event that it is about."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from chronosdb.client.arguments import check_name
from chronosdb.client.checked_column import checked_column
from chronosdb.client.cluster import Cluster
from chronosdb.client.leaders import Partition
from chronosdb.client.meta import decode_meta
from chronosdb.client.results import text_id
from chronosdb.client.topics import Topics
from chronosdb.wire import EventBatch, Row
from chronosdb.wire import messages as m
from chronosdb.wire.batch import NOW, RELATIVE
from chronosdb.wire.errors import NotFound, ProtocolError
from chronosdb.wire.event import MetaValue
from chronosdb.wire.letters import SUFFIX, Facts, dead_letter_topic, without_facts

#: Letters in one page.
PAGE_ROWS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that used up its attempts, as it was published."""

    #: The letter's own id, in the dead-letter topic.
    id: str
    #: The event: where it was, and its id there.
    topic: str
    partition: int
    offset: int
    message_id: str
    schedule_ts: int
    #: Who could not handle it, and why; empty for what a user put into the topic.
    group: str
    reason: str
    attempts: int
    #: Epoch ms at which it was given up.
    failed_ts: int
    payload: bytes
    #: Headers that are no map of names are under "undecodable", as the bytes they are.
    meta: dict[str, MetaValue]
    key: bytes | None


@dataclass(frozen=True, slots=True)
class Found:
    """A letter, where it lies, and the event to publish in order to redrive it."""

    partition: int
    position: int
    letter: DeadLetter
    row: Row


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters: with one of these ids (its own or its event's), of this group; None: any."""

    ids: frozenset[str] | None = None
    group: str | None = None
    before_ms: int | None = None

    def chooses(self, letter: DeadLetter) -> bool:
        """Whether it is one of them."""
        return (
            (self.ids is None or letter.id in self.ids or letter.message_id in self.ids)
            and self.group in {None, letter.group}
            and (self.before_ms is None or letter.failed_ts < self.before_ms)
        )


class Pages:
    """The letters of a topic that a filter chooses, partition after partition, oldest first."""

    # Not an async generator: one that a caller leaves half-way would have to be closed by hand.
    def __init__(self, cluster: Cluster, topics: Topics, topic: str, chosen: Filter) -> None:
        self._cluster = cluster
        self._topics = topics
        self._topic = check_name("topic", topic)
        self._name = dead_letter_topic(topic)
        self._filter = chosen
        #: What is still to be asked for: partitions, and from which position; None: not known yet.
        self._places: deque[tuple[int, int]] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Found]:
        if self._places is None:
            self._places = deque((partition, 0) for partition in range(await self._partitions()))
        if not self._places:
            raise StopAsyncIteration
        partition, position = self._places[0]
        ask = _list(self._name, partition, position)
        where = Partition(self._name, partition)
        page = await self._cluster.call(ask, m.DeadLettersPage, where)
        self._places.popleft()
        if page.next is not None:
            self._places.appendleft((partition, page.next))
        found = _letters(self._name, partition, page)
        return [one for one in found if self._filter.chooses(one.letter)]

    async def _partitions(self) -> int:
        try:
            return await self._topics.partitions(self._name)
        except NotFound:
            await self._topics.describe(self._topic)  # it exists, and nothing of it failed so far
            return 0


class Letters:
    """The letters of some pages, one by one; at most `limit`."""

    def __init__(self, pages: Pages, limit: int | None) -> None:
        self._pages = pages
        self._left = limit
        self._waiting: deque[DeadLetter] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DeadLetter:
        if self._left == 0:
            raise StopAsyncIteration
        while not self._waiting:
            self._waiting.extend(found.letter for found in await anext(self._pages))
        if self._left is not None:
            self._left -= 1
        return self._waiting.popleft()


class _Place(NamedTuple):
    topic: str
    partition: int
    position: int
    offset: int
    published_ms: int


def _letters(topic: str, partition: int, page: m.DeadLettersPage) -> Sequence[Found]:
    if not page.batch:
        return []
    batch = EventBatch(page.batch)
    columns = (
        checked_column("positions", page.positions, batch.count),
        checked_column("offsets", page.offsets, batch.count),
        checked_column("published", page.published, batch.count),
    )
    return [
        _found(_Place(topic, partition, *place), batch, i)
        for i, place in enumerate(zip(*columns, strict=True))
    ]


def _found(place: _Place, batch: EventBatch, i: int) -> Found:
    """Event `i` of a page. A letter about a letter is about the event that was first."""
    message_id, key, payload = batch.message_id(i), batch.key(i), batch.payload(i)
    name = text_id(message_id)
    facts, meta = without_facts(batch.meta(i))
    last = facts or _by_hand(place, name, batch.due[i])
    first = last
    while first.topic == place.topic:
        inner, inner_meta = without_facts(meta)
        if inner is None:
            break
        first, meta = inner, inner_meta
    letter = DeadLetter(
        id=name,
        topic=first.topic,
        partition=first.partition,
        offset=first.offset,
        message_id=first.message_id,
        schedule_ts=first.schedule_ts,
        group=last.group,
        reason=last.reason,
        attempts=last.attempts,
        failed_ts=place.published_ms,
        payload=payload,
        meta=_shown(meta),
        key=key,
    )
    row = Row(_new_id(place, message_id), NOW, key or b"", meta, payload, RELATIVE)
    return Found(place.partition, place.position, letter, row)


def _by_hand(place: _Place, name: str, due_ms: int) -> Facts:
    """What there is to say of an event that no dead-letter office put there."""
    topic = place.topic.removesuffix(SUFFIX)
    return Facts("", "", 0, topic, place.partition, place.offset, name, due_ms)


def _shown(meta: bytes) -> dict[str, MetaValue]:
    try:
        return decode_meta(meta)
    except ProtocolError:
        return {"undecodable": meta}


def _new_id(place: _Place, message_id: bytes) -> bytes:
    """The id under which a letter's event is published again: always the same for one letter."""
    whole = (place.topic, place.partition, place.offset, place.published_ms, message_id)
    return b"redrive-" + hashlib.blake2b(repr(whole).encode(), digest_size=16).hexdigest().encode()


def _list(topic: str, partition: int, position: int) -> Callable[[int], m.Message]:
    return lambda request: m.ListDeadLetters(request, topic, partition, position, PAGE_ROWS)

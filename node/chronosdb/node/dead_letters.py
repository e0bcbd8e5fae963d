"""The dead-letter office: moves what used up its attempts to the topic `<topic>.dlq`.

First the copy is on disk there, then the original is settled here: a crash in between repeats the
copy, and its id, made from the group's life and the position, makes the repetition a duplicate. An
event therefore is never in neither place.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.fanout.routes import Routes
from chronosdb.node.partition.dispatcher import DeadLetter
from chronosdb.node.partition.partition import Partition
from chronosdb.node.reply import Reply
from chronosdb.raft import TopicInfo
from chronosdb.wire import EventBatch, Row, encode_batch, partition_for
from chronosdb.wire.batch import NOW, RELATIVE
from chronosdb.wire.errors import ChronosError, Conflict, Overloaded
from chronosdb.wire.letters import Facts, dead_letter_topic, with_facts

logger = logging.getLogger(__name__)

_RETRY_S: Final = 1.0


class Topics(Protocol):
    """What the office needs of the broker."""

    async def dead_letter_topic(self, name: str) -> TopicInfo:
        """The dead-letter topic of this name, made where there is none yet."""
        ...


class _Queue:
    """The letters of one partition, oldest first."""

    def __init__(self, source: Partition) -> None:
        self.source = source
        #: Bounded by the leases in flight: each letter is a position that no one is sent any more.
        self.letters: deque[DeadLetter] = deque()
        #: Not tried before this time of trio's clock.
        self.again_s = 0.0


class DeadLetterOffice:
    """Copies dead letters, one after the other, until each is where it belongs."""

    def __init__(self, topics: Topics, routes: Routes) -> None:
        self._topics = topics
        self._routes = routes
        #: Each partition in turn. Invariant: none is empty.
        self._queues: dict[Partition, _Queue] = {}
        self._wake = Signal()
        self._stopping = False

    def post(self, partition: Partition, letters: Sequence[DeadLetter]) -> None:
        """Take these letters over; they are settled when they have arrived."""
        self._queues.setdefault(partition, _Queue(partition)).letters.extend(letters)
        self._wake.set()

    def stop(self) -> None:
        """Let `run` return; what is left is found again after a restart."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Deliver until stopped."""
        while not self._stopping:
            queue = self._next()
            if queue is None:
                await self._pause()
                continue
            try:
                await self._deliver(queue.source, queue.letters[0])
            except ChronosError as error:
                if not self._stopping and not queue.source.stopping:
                    logger.warning("dead letters of %s wait: %s", queue.source.id.topic, error)
                # What keeps this letter keeps the others of its topic too, and nobody else's.
                queue.again_s = trio.current_time() + _RETRY_S
            else:
                queue.letters.popleft()
            del self._queues[queue.source]
            if queue.letters:  # behind the others
                self._queues[queue.source] = queue

    def _next(self) -> _Queue | None:
        """The queue whose turn it is."""
        for source in [source for source in self._queues if source.stopping]:
            # Its topic was deleted, or it is led elsewhere or later, and whoever leads it then finds
            # these letters again.
            del self._queues[source]
        now_s = trio.current_time()
        ready = (queue for queue in self._queues.values() if queue.again_s <= now_s)
        return next(ready, None)

    async def _pause(self) -> None:
        again_s = min((queue.again_s for queue in self._queues.values()), default=math.inf)
        with trio.move_on_at(again_s):
            await self._wake.wait()

    async def _deliver(self, source: Partition, letter: DeadLetter) -> None:
        name = dead_letter_topic(source.id.topic)
        topic = await self._topics.dead_letter_topic(name)
        if self._stopping or source.stopping:
            raise Overloaded("the node is shutting down, and the partition may be closed by now")
        row = _copy(source, letter)
        index = partition_for(row.key or None, row.message_id, topic.partitions)
        with suppress(Conflict):  # It is there, for another reason, from before a crash.
            await self._routes.publish(name, index, EventBatch(encode_batch([row])))
        settled = Reply[ChronosError | None]()
        source.dispatcher.dead_lettered(letter, settled.set)
        await settled.get()
        logger.info(
            "%s/%d position %d of group %s went to %s after %d attempts: %s",
            source.id.topic,
            source.id.partition,
            letter.position,
            letter.group,
            name,
            letter.attempts,
            letter.reason,
        )


def _copy(source: Partition, letter: DeadLetter) -> Row:
    """The event as it goes to the dead-letter topic: same key and payload, more headers."""
    due = source.reader.fired(letter.position, letter.position + 1)
    offset = int(due.offsets[0])
    stored = source.reader.stored(offset)
    index = offset - stored.start
    batch = stored.batch
    facts = Facts(
        reason=letter.reason,
        group=letter.group,
        attempts=letter.attempts,
        topic=source.id.topic,
        partition=source.id.partition,
        offset=offset,
        message_id=batch.message_id(index).decode(errors="replace"),
        schedule_ts=int(due.due_ms[0]),
    )
    return Row(
        message_id=_id(source, letter),
        due_ms=NOW,
        key=batch.key(index) or b"",
        meta=with_facts(batch.meta(index), facts),
        payload=batch.payload(index),
        flags=RELATIVE,
    )


def _id(source: Partition, letter: DeadLetter) -> bytes:
    place = (
        source.id.topic_id,
        source.id.partition,
        letter.group,
        letter.since_ms,
        letter.position,
    )
    return b"dlq-" + hashlib.blake2b(repr(place).encode(), digest_size=16).hexdigest().encode()

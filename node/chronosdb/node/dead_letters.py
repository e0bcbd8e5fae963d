"""The dead-letter office: moves what used up its attempts to the topic `<topic>.dlq`.

First the copy is on disk there, then the original is settled here: a crash in between repeats the
copy, and its id, made from the group's life and the position, makes the repetition a duplicate. An
event therefore is never in neither place.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.partition.dispatcher import DeadLetter
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.proposals import Placement
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

    def partition(self, topic: str, index: int) -> Partition:
        """One partition; raises NotFound."""
        ...


@dataclass(frozen=True, slots=True)
class _Parcel:
    partition: Partition
    letter: DeadLetter


class DeadLetterOffice:
    """Copies dead letters, one after the other, until each is where it belongs."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        #: Bounded by the leases in flight: each parcel is a position that no one is sent any more.
        self._parcels: deque[_Parcel] = deque()
        self._wake = Signal()
        self._stopping = False

    def post(self, partition: Partition, letters: Sequence[DeadLetter]) -> None:
        """Take these letters over; they are settled when they have arrived."""
        self._parcels.extend(_Parcel(partition, letter) for letter in letters)
        self._wake.set()

    def stop(self) -> None:
        """Let `run` return; what is left is found again after a restart."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Deliver until stopped."""
        while not self._stopping:
            if not self._parcels:
                await self._wake.wait()
                continue
            try:
                await self._deliver(self._parcels[0])
            except ChronosError as error:
                await self._put_off(error)
            else:
                self._parcels.popleft()

    async def _put_off(self, error: ChronosError) -> None:
        """What keeps this letter may not keep the others: it goes to the end."""
        if self._parcels[0].partition.stopping:
            # Its topic was deleted, or the node stops, and finds it again at the next start.
            self._parcels.popleft()
        elif not self._stopping:
            logger.warning("dead letter waits: %s", error)
            self._parcels.rotate(-1)
            await trio.sleep(_RETRY_S)

    async def _deliver(self, parcel: _Parcel) -> None:
        source = parcel.partition
        name = dead_letter_topic(source.id.topic)
        topic = await self._topics.dead_letter_topic(name)
        if self._stopping or source.stopping:
            raise Overloaded("the node is shutting down, and the partition may be closed by now")
        row = _copy(source, parcel.letter)
        index = partition_for(row.key or None, row.message_id, topic.partitions)
        await _published(self._topics.partition(name, index), EventBatch(encode_batch([row])))
        settled = Reply[ChronosError | None]()
        source.dispatcher.dead_lettered(parcel.letter, settled.set)
        await settled.get()
        logger.info(
            "%s/%d position %d of group %s went to %s after %d attempts: %s",
            source.id.topic,
            source.id.partition,
            parcel.letter.position,
            parcel.letter.group,
            name,
            parcel.letter.attempts,
            parcel.letter.reason,
        )


async def _published(partition: Partition, batch: EventBatch) -> None:
    """Store a copy; a conflict means that it is there, for another reason, from before a crash."""
    reply = Reply[Placement | ChronosError]()
    partition.publish(batch, reply.set)
    outcome = await reply.get()
    if isinstance(outcome, ChronosError) and not isinstance(outcome, Conflict):
        raise outcome


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

"""Changes of in-sync sets on their way into the metadata, many in one command."""

from __future__ import annotations

import logging
from typing import Final

import trio

from chronosdb.node.clock import Signal
from chronosdb.node.metadata import Metadata
from chronosdb.node.reply import Reply
from chronosdb.raft import AlterPartitions, PartitionChange, TopicInfo
from chronosdb.raft.limits import PARTITION_CHANGES_MAX
from chronosdb.wire.errors import ChronosError, Conflict, InvalidArgument

logger = logging.getLogger(__name__)

#: When a node dies, each leader on another has something to propose, all within moments.
_GATHER_S: Final = 0.005
_RETRY_S: Final = 0.1


class _Proposal:
    def __init__(
        self, topic: str, topic_id: int, partition: int, version: int, isr: tuple[str, ...]
    ) -> None:
        self.topic = topic
        self.topic_id = topic_id
        self.partition = partition
        self.version = version
        self.isr = isr
        self.reply = Reply[None]()


class Proposer:
    """Proposes for all partitions that one node leads."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._waiting: list[_Proposal] = []
        self._wake = Signal()

    async def propose(
        self, topic: str, topic_id: int, partition: int, version: int, isr: tuple[str, ...]
    ) -> TopicInfo | None:
        """Have a partition of this `version` get another in-sync set.

        Returns the topic as it is once that is decided for good; None if it is gone. If the partition
        still has that version, it was refused; else it was changed, by this or by something else.
        """
        proposal = _Proposal(topic, topic_id, partition, version, isr)
        self._waiting.append(proposal)
        self._wake.set()
        await proposal.reply.get()
        return self._topic_of(proposal)

    async def run(self) -> None:
        """Propose what there is, until cancelled."""
        while True:
            await self._wake.wait()
            await trio.sleep(_GATHER_S)
            batch = self._open()
            if batch:
                # More than one command holds, or one that was not answered, comes again.
                self._wake.set()
                await self._submit(batch)

    def _open(self) -> list[PartitionChange]:
        """What can still be changed; whoever waits for anything else is told."""
        undecided, self._waiting = self._waiting, []
        changes: dict[tuple[int, int], PartitionChange] = {}
        for one in undecided:
            topic = self._topic_of(one)
            if topic is None or topic.versions[one.partition] != one.version:
                one.reply.set(None)
                continue
            self._waiting.append(one)
            if len(changes) < PARTITION_CHANGES_MAX:
                changes.setdefault((one.topic_id, one.partition), _change(topic, one))
        return list(changes.values())

    async def _submit(self, changes: list[PartitionChange]) -> None:
        try:
            await self._metadata.submit(AlterPartitions(tuple(changes)))
        except Conflict:
            pass  # One that is too late spoils the others; the view shows which it was.
        except InvalidArgument as error:
            await self._sort_out(changes, error)
        except ChronosError as error:
            logger.info("in-sync sets are not changed yet: %s", error)
            await trio.sleep(_RETRY_S)

    async def _sort_out(self, changes: list[PartitionChange], error: ChronosError) -> None:
        """Among these is one that can never be: it is told so, the others are tried without it."""
        if len(changes) > 1:
            for change in changes:
                await self._submit([change])
            return
        (bad,) = changes
        logger.warning("in-sync set %s refused: %s", bad, error)
        for one in [one for one in self._waiting if _is_of(one, bad)]:
            self._waiting.remove(one)
            one.reply.set(None)

    def _topic_of(self, one: _Proposal) -> TopicInfo | None:
        topic = self._metadata.view.topics.get(one.topic)
        return topic if topic is not None and topic.id == one.topic_id else None


def _change(topic: TopicInfo, one: _Proposal) -> PartitionChange:
    p = one.partition
    return PartitionChange(one.topic, p, one.version, topic.leaders[p], topic.replicas[p], one.isr)


def _is_of(one: _Proposal, change: PartitionChange) -> bool:
    where = (one.topic, one.partition, one.version, one.isr)
    return where == (change.topic, change.partition, change.version, change.isr)

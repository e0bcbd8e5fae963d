"""What it takes to open a partition: for a node alone, or as one copy of several.

A copy is opened without knowing who leads. Its state goes no further than what is committed for sure;
a partition that serves is made of it later, when this node has become the leader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chronosdb.node.environment import Environment
from chronosdb.node.partition.acks import Replication
from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.partition.dispatcher import DeadLetter
from chronosdb.node.partition.epochs import EpochHistory
from chronosdb.node.partition.partition import (
    Partition,
    PartitionId,
    max_batch_bytes,
    open_log,
)
from chronosdb.node.partition.reader import RecordCache
from chronosdb.node.partition.retirement import FOR_EVER, RetentionLimits
from chronosdb.node.partition.state import PartitionState
from chronosdb.node.partition.timer_memory import TimerMemory
from chronosdb.wal import DamagedRecord, KeyValue, Log, LogOptions


@dataclass(slots=True)
class OpenCopy:
    """A log and what is known from it."""

    log: Log
    #: Invariant: has applied nothing that is not committed.
    state: PartitionState
    #: Of all of the log, also of what is not committed.
    epochs: EpochHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPartition:
    """Everything that a partition is opened with."""

    env: Environment
    identity: PartitionId
    directory: str
    views: KeyValue
    cache: RecordCache
    log_options: LogOptions
    options: CommitOptions
    on_dead_letters: Callable[[Partition, Sequence[DeadLetter]], None]
    retention: RetentionLimits = FOR_EVER
    timer_memory: TimerMemory | None = None

    def open(self) -> Partition:
        """The partition of a node that is alone. Blocks; raises as `Partition.open`."""
        return Partition.open(
            self.env,
            self.identity,
            directory=self.directory,
            views=self.views,
            cache=self.cache,
            log_options=self.log_options,
            options=self.options,
            on_dead_letters=self.on_dead_letters,
            retention=self.retention,
            timer_memory=self.timer_memory,
        )

    def open_copy(self, committed_lsn: int = 0) -> OpenCopy:
        """The log, its state up to what is committed, and its reigns. Blocks.

        Raises:
            LogDamaged: bytes that were durable are wrong; nothing was changed.
            DamagedRecord: the same, further back in the log.
        """
        if not self.env.disk.exists(self.directory):
            # Not a loss: other nodes have the copies that count. Views may outlive a copy that was here.
            self.views.namespaced(self.identity.log_id).delete_range(b"")
        log, state = open_log(
            self.env,
            self.identity,
            self.directory,
            views=self.views,
            log_options=self.log_options,
            options=self.options,
            timer_memory=self.timer_memory,
        )
        try:
            state.recover(min(committed_lsn, log.end_lsn))
            epochs = EpochHistory(state.epochs.reigns)
            for record in log.scan(state.applied_lsn):
                epochs.note(record.epoch, record.lsn)
        except DamagedRecord:
            log.close()
            raise
        return OpenCopy(log, state, epochs)

    def serve(self, copy: OpenCopy, replication: Replication) -> Partition:
        """A partition that leads, of a copy that has applied all of its log."""
        assert copy.state.applied_lsn == copy.log.end_lsn
        return Partition(
            self.env,
            self.identity,
            log=copy.log,
            max_batch_bytes=max_batch_bytes(self.log_options),
            state=copy.state,
            cache=self.cache,
            options=self.options,
            retention=self.retention,
            on_dead_letters=self.on_dead_letters,
            replication=replication,
        )

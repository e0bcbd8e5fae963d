"""One partition: its log, its state, and the two tasks that serve it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import trio

from chronosdb.node.environment import Environment
from chronosdb.node.partition import proposals
from chronosdb.node.partition.acks import Acks, Replication, unless_damaged
from chronosdb.node.partition.changes import CancelManyProposal, ChangeOutcome, ChangeProposal
from chronosdb.node.partition.committer import CommitOptions, Committer
from chronosdb.node.partition.counters import Counters
from chronosdb.node.partition.dispatcher import DeadLetter, Dispatcher
from chronosdb.node.partition.history import History
from chronosdb.node.partition.limits import Limits
from chronosdb.node.partition.proposals import Outcome, Placement, PublishOutcome, PublishProposal
from chronosdb.node.partition.reader import EventReader, RecordCache, Stored, first_since
from chronosdb.node.partition.records import ATTEMPTS_MAX
from chronosdb.node.partition.retirement import FOR_EVER, RetentionLimits, Retirement
from chronosdb.node.partition.standing import Standing, standing
from chronosdb.node.partition.state import PartitionState, durable_lsn
from chronosdb.node.partition.timer_memory import TimerMemory
from chronosdb.sched import PolicyError, RetryPolicy
from chronosdb.wal import KeyValue, Log, LogOptions
from chronosdb.wire import EventBatch
from chronosdb.wire.errors import ChronosError, InvalidArgument, NotLeader, Overloaded
from chronosdb.wire.letters import SUFFIX
from chronosdb.wire.messages import REDRIVE_GROUP

logger = logging.getLogger(__name__)

#: Of each replay: it reads every record about once.
_REPLAY_CACHE_BYTES: Final = 2 * 1024 * 1024
_DIRECTORY: Final = re.compile("([0-9]{1,18})-([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class PartitionId:
    """A partition of a topic; the topic's id is never reused, its name may be."""

    topic: str
    topic_id: int
    partition: int

    @property
    def directory(self) -> str:
        """Name of its folder in the data directory."""
        return f"{self.topic_id}-{self.partition}"

    @property
    def log_id(self) -> bytes:
        """Stamped into each segment, so that a log in the wrong folder is recognised."""
        return self.topic_id.to_bytes(12, "big") + self.partition.to_bytes(4, "big")

    @classmethod
    def of_directory(cls, name: str) -> PartitionId | None:
        """Whose folder has this name, as far as that says; None for any other name."""
        match = _DIRECTORY.fullmatch(name)
        return None if match is None else cls("", int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Found:
    """An event looked up by id."""

    state: Standing
    offset: int
    #: When it is due now, or was when it fired.
    due_ms: int
    stored: Stored
    index: int


class Partition:
    """A partition that this node leads."""

    def __init__(
        self,
        env: Environment,
        identity: PartitionId,
        *,
        log: Log,
        max_batch_bytes: int,
        state: PartitionState,
        cache: RecordCache,
        options: CommitOptions,
        retention: RetentionLimits,
        on_dead_letters: Callable[[Partition, Sequence[DeadLetter]], None],
        replication: Replication | None = None,
    ) -> None:
        self.id = identity
        self._acks = Acks(options.acks)
        self.state = state
        self.reader = EventReader(log, identity.log_id, cache, state.carried)
        self._log = log
        self._replication = replication
        self._threads = env.threads
        self._max_batch_bytes = max_batch_bytes
        self._stopping = False
        #: Set when the log is closed, after `stop`.
        self.closed = trio.Event()
        #: What happened here since the node started.
        self.counters = Counters()
        self.committer = Committer(
            env,
            log,
            state,
            reader=self.reader,
            options=options,
            counters=self.counters,
            limits=Limits(identity.topic, options.max_delay_ms, options.max_pending),
            name=f"{identity.topic}/{identity.partition}",
            replication=replication,
        )
        self.dispatcher = Dispatcher(
            env,
            identity.partition,
            state=state,
            reader=self.reader,
            committer=self.committer,
            counters=self.counters,
            on_dead_letters=lambda letters: on_dead_letters(self, letters),
        )
        self.committer.on_fired = self.dispatcher.wake
        self.retirement = Retirement(
            env.threads,
            log,
            state,
            self.committer,
            counters=self.counters,
            limits=retention,
            window_ms=options.dedup_window_ms,
            record_bytes=max_batch_bytes,
            name=f"{identity.topic}/{identity.partition}",
        )

    @classmethod
    def open(
        cls,
        env: Environment,
        identity: PartitionId,
        *,
        directory: str,
        views: KeyValue,
        cache: RecordCache,
        log_options: LogOptions,
        options: CommitOptions,
        on_dead_letters: Callable[[Partition, Sequence[DeadLetter]], None],
        retention: RetentionLimits = FOR_EVER,
        timer_memory: TimerMemory | None = None,
    ) -> Partition:
        """Open or create the log and bring the views up to its end. Blocks: call it in a thread.

        Raises:
            LogDamaged: bytes that were durable are wrong; nothing was changed.
        """
        log, state = open_log(
            env,
            identity,
            directory,
            views=views,
            log_options=log_options,
            options=options,
            timer_memory=timer_memory,
        )
        replayed = state.recover()
        if replayed and state.is_rebuilt:
            logger.info(
                "%s/%d: its views are computed anew, from all %d records of its log",
                identity.topic,
                identity.partition,
                replayed,
            )
        return cls(
            env,
            identity,
            log=log,
            max_batch_bytes=max_batch_bytes(log_options),
            state=state,
            cache=cache,
            options=options,
            retention=retention,
            on_dead_letters=on_dead_letters,
        )

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop` or `depose`, in an epoch that is in the log, and committed, already.

        Raises:
            LogFailed: the disk failed; the partition is over until a restart.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(unless_damaged, self._replication, self.dispatcher.run)
            nursery.start_soon(self._commit_until_stopped, nursery.cancel_scope)
            task_status.started()

    async def run(
        self,
        node_id: str,
        epoch: int,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop`; started once this leader's epoch is in the log.

        Raises:
            LogFailed: the disk failed; the partition is over until a restart.
        """
        began = trio.Event()
        self.committer.submit(proposals.begin_epoch(node_id, epoch, lambda _: began.set()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.dispatcher.run)
            nursery.start_soon(self._commit_until_stopped, nursery.cancel_scope)
            await began.wait()
            logger.debug("%s/%d: epoch %d begins", self.id.topic, self.id.partition, epoch)
            task_status.started()

    @property
    def log_bytes(self) -> int:
        """How much its log holds."""
        return self._log.end_lsn - self._log.start_lsn

    @property
    def stopping(self) -> bool:
        """Whether it was stopped or deposed: the log may be closed by now."""
        return self._stopping

    def stop(self) -> None:
        """Answer what is queued, save the views, close the log; `run` returns then."""
        self._stopping = True
        self.retirement.stop()
        self.dispatcher.stop()
        self.committer.stop()

    def depose(self, error: ChronosError) -> None:
        """Another node may lead now: write and deliver nothing more, and tell all who wait `error`.

        `serve` returns when the log is closed.
        """
        self._stopping = True
        self.retirement.stop()
        self.dispatcher.stop()
        self.committer.depose(error)

    def publish(self, batch: EventBatch, outcome: PublishOutcome, acks: int | None = None) -> None:
        """Store a batch; `outcome` is told when it is on disk, on as many as `acks` says.

        Raises:
            InvalidArgument: the batch is larger than a log record may be.
            Overloaded: too much is waiting already.
            NotLeader: this node leads the partition no more.
        """
        if len(batch.blob) > self._max_batch_bytes:
            raise InvalidArgument(
                f"a batch of {len(batch.blob)} bytes; this node's segments (segment_bytes) allow"
                f" {self._max_batch_bytes}: publish fewer events at a time"
            )

        def answered(placement: Placement | ChronosError) -> None:
            self.counters.answered(placement)
            outcome(placement)

        try:
            wanted = self._acks if acks is None else Acks(acks)
            self.committer.submit(PublishProposal(batch, answered, wanted))
        except (Overloaded, NotLeader) as error:
            self.counters.answered(error)
            raise

    def create_group(self, name: str, start: str | int, outcome: Outcome) -> None:
        """Let a group begin at "earliest", "latest" or a time (ms); one that exists stays put."""
        if name in self.state.groups:
            outcome(None)
        else:
            position = self.start_position(start)
            self.committer.submit(proposals.create_group(name, position, outcome))

    def reset_group(self, name: str, position: int, outcome: Outcome) -> None:
        """Let a group begin again at `position`; its leases, retries and attempts are forgotten."""

        def reset(error: ChronosError | None) -> None:
            if error is None:
                self.dispatcher.renew_group(name)
            outcome(error)

        self.committer.submit(proposals.reset_group(name, position, reset))

    def end_group(self, name: str, outcome: Outcome) -> None:
        """Forget a group that has no members."""

        def ended(error: ChronosError | None) -> None:
            if error is None:
                self.dispatcher.close_group(name)
            outcome(error)

        self.committer.submit(proposals.end_group(name, ended))

    def start_position(self, start: str | int) -> int:
        """The position of "earliest", "latest", or of what fired at a time (ms) or after it."""
        end = self.committer.end_position
        if isinstance(start, str):
            return self.state.first_position if start == "earliest" else end
        record = first_since(self._log, start)
        if record is None:
            return end
        return max(self.state.first_position, min(record.position, end))

    def history(self) -> History:
        """What a replay reads."""
        reader = self.reader.apart(RecordCache(_REPLAY_CACHE_BYTES))
        return History(self._log, reader, self.committer, self.state, self._threads)

    def find(self, message_id: bytes) -> Found | None:
        """The event with this id, inside the dedup window.

        Raises:
            DamagedRecord: its bytes on disk are not what was written.
        """
        known = self.state.dedup.find([message_id])
        if known is None or known[0] is None:
            return None
        offset = known[0]
        stored = self.reader.stored(offset)
        index = offset - stored.start
        moved_ms = self.state.timers.due_of(offset)
        due_ms = stored.batch.due[index] if moved_ms is None else moved_ms
        return Found(standing(self.state.timers, offset), offset, due_ms, stored, index)

    def change(self, message_id: bytes, due_ms: int | None, outcome: ChangeOutcome) -> None:
        """Cancel an event (`due_ms` None), or let it be due at another time.

        Raises:
            Overloaded: the node is stopping.
        """
        self.committer.submit(ChangeProposal(message_id, due_ms, outcome))

    def cancel_many(
        self, offsets: Sequence[int], outcome: Callable[[int | ChronosError], None]
    ) -> None:
        """Cancel those of these events that are still pending; `outcome` is told how many.

        Raises:
            Overloaded: the node is stopping.
        """
        self.committer.submit(CancelManyProposal(offsets, outcome))

    async def _commit_until_stopped(self, scope: trio.CancelScope) -> None:
        await self.committer.run()
        async with self.retirement.passing:
            self._log.close()
        self.closed.set()
        scope.cancel()


def open_log(
    env: Environment,
    identity: PartitionId,
    directory: str,
    *,
    views: KeyValue,
    log_options: LogOptions,
    options: CommitOptions,
    timer_memory: TimerMemory | None = None,
) -> tuple[Log, PartitionState]:
    """Open or create the log, with views that are yet to be brought up. Blocks.

    Raises:
        LogDamaged: bytes that were durable are wrong; nothing was changed.
    """
    store = views.namespaced(identity.log_id)
    trusted = durable_lsn(store, identity.log_id) if options.fsync != "periodic" else 0
    log = Log.open(env.disk, directory, log_options, log_id=identity.log_id, durable_lsn=trusted)
    if log.recovery.torn_bytes:
        logger.warning("%s/%d: %s", identity.topic, identity.partition, log.recovery)
    now_ms = env.clock.now_ms()
    return log, PartitionState(log, identity.log_id, store, now_ms, timer_memory)


def max_batch_bytes(log_options: LogOptions) -> int:
    """A batch so large fits a segment with what else may be in its write group, and a FIRE of it."""
    return min(log_options.max_record_bytes, log_options.segment_bytes // 3)


def options_for(options: CommitOptions, settings: Mapping[str, int]) -> CommitOptions:
    """The node's options with a topic's own settings over them."""
    return replace(
        options,
        dedup_window_ms=settings.get("dedup_window_ms", options.dedup_window_ms),
        max_delay_ms=settings.get("max_delay_ms", options.max_delay_ms),
        max_pending=settings.get("max_pending", options.max_pending),
        acks=settings.get("acks", options.acks),
    )


def policy_for(policy: RetryPolicy, settings: Mapping[str, int]) -> RetryPolicy:
    """The node's retry policy with a topic's own settings over it.

    Raises:
        InvalidArgument: a setting is out of bounds, or they do not go together.
    """
    names = ("ack_timeout_ms", "max_attempts", "backoff_ms", "backoff_max_ms")
    own = {name: settings[name] for name in names if name in settings}
    try:
        merged = replace(policy, **own)
    except PolicyError as error:
        raise InvalidArgument(str(error)) from None
    if merged.max_attempts > ATTEMPTS_MAX:
        raise InvalidArgument(f"max_attempts is {merged.max_attempts}: at most {ATTEMPTS_MAX}")
    return merged


def retention_for(
    limits: RetentionLimits, topic: str, settings: Mapping[str, int]
) -> RetentionLimits:
    """The node's limits with a topic's own settings over them.

    Dead letters stay until they are redriven or purged.
    """
    return RetentionLimits(
        settings.get("retention_ms", limits.ms),
        settings.get("retention_bytes", limits.nbytes),
        keeper=REDRIVE_GROUP if topic.endswith(SUFFIX) else None,
    )

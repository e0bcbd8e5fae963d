"""A partition that lives a random life; after every crash state its views must be what its log says.

The real committer writes and checkpoints, under virtual time. Truth is what it has committed: each of
those records, and each answer that it gave, must be there after any power cut, whichever of the
view store's last states came through with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final, final

import trio
from trio.testing import MockClock

from chronosdb.node.clock import Clock
from chronosdb.node.environment import Environment
from chronosdb.node.partition import proposals
from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.partition.partition import Partition, PartitionId
from chronosdb.node.partition.proposals import Placement, SettleProposal
from chronosdb.node.partition.reader import RecordCache
from chronosdb.node.partition.records import Kind, RetryRow, SettleReason, read_batch
from chronosdb.node.partition.retirement import RetentionLimits
from chronosdb.node.partition.state import PartitionState, durable_lsn
from chronosdb.testing.clock import WallClock
from chronosdb.testing.memory_disk import MemoryDisk, PowerCut
from chronosdb.testing.threads import InlineThreads
from chronosdb.wal import Log, LogFailed, LogOptions, MemoryKV, Record, UnreadableRecord
from chronosdb.wire import EventBatch, Row, encode_batch
from chronosdb.wire.errors import ChronosError
from tests.crash.partition_model import Model
from tests.crash.views import RememberingViews, store_of
from tests.crash.watch import Tally, Watch
from tests.support.seeded_trio import schedule_by

START_MS: Final = 1_900_000_000_000
IDENTITY: Final = PartitionId("t", 1, 0)
DIRECTORY: Final = "/log"
LOG: Final = LogOptions(
    segment_bytes=3000,
    max_record_bytes=1000,
    index_interval_bytes=512,
    disk_reserve_bytes=0,
    allocate_min_bytes=400,
    allocate_max_bytes=800,
    scan_bytes=2000,
)
COMMIT: Final = CommitOptions(
    checkpoint_bytes=2000,
    checkpoint_interval_ms=400,
    group_bytes=1500,
    queue_bytes=1 << 20,
    dedup_window_ms=1000,
)
#: Everything may go that is older than the dedup window and that nobody needs.
RETENTION: Final = RetentionLimits(nbytes=1)
LIVES: Final = 4
STEPS: Final = 14
GROUPS: Final = ("a", "b")


@dataclass(slots=True)
class Truth:
    """What was committed, and what callers were told."""

    committed: list[Record] = field(default_factory=list)
    """Every record, also those that were deleted since."""
    model: Model = field(default_factory=lambda: Model(COMMIT.dedup_window_ms))
    """What they amount to."""
    sent: dict[bytes, bytes] = field(default_factory=dict)
    """Every id that was ever published, and its payload."""
    stored: dict[int, bytes] = field(default_factory=dict)
    """Offsets that were answered to publishes, and of which id."""

    def commit(self, records: Iterable[Record]) -> None:
        """Take in what comes next in the log."""
        for record in records:
            self.committed.append(record)
            self.model.apply(record)

    def extended_by(self, log: Log) -> Model:
        """The model of a log that was found: all that was committed is in it, and little else (I1, I2)."""
        found = list(log.scan())
        stored = [record for record in self.committed if record.lsn >= log.start_lsn]
        assert found[: len(stored)] == stored, "I1: a committed record is lost, or another"
        model = self.model.copy()
        for record in found[len(stored) :]:
            self._check_sent(record)
            model.apply(record)
        for offset, message_id in self.stored.items():
            assert model.ids[offset] == message_id, f"I1: {message_id!r} is not at {offset}"
        return model

    def _check_sent(self, record: Record) -> None:
        """A record that was written, and perhaps not synced, is what somebody asked for."""
        if record.kind == Kind.PUBLISH:
            batch = read_batch(record)
            for i, message_id in enumerate(batch.ids()):
                assert batch.payload(i) == self.sent.get(message_id), f"I2: {message_id!r}"


@final
class PartitionScript:
    """A few lives of one partition: the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.tally = Tally()
        self._seed = seed
        self._rng = Random(f"{seed} partition")
        #: Not that of the life: how states are checked must not change what happens.
        self._dice = Random(f"{seed} checks")
        self._disk = MemoryDisk()
        self._views = RememberingViews()
        self._threads = InlineThreads()
        self._clock = Clock(WallClock(START_MS))
        self._truth = Truth()
        self._retention = self._rng.choice((RETENTION, RetentionLimits()))

    def run(self) -> Tally:
        """Live, and check every state on the way."""
        schedule_by(self._seed)
        trio.run(self._live, clock=MockClock(autojump_threshold=0))
        return self.tally

    async def _live(self) -> None:
        with Watch(self._disk, self._dice, self.tally, self._check, None):
            for epoch in range(1, LIVES + 1):
                await self._one_life(epoch)

    async def _one_life(self, epoch: int) -> None:
        partition = self._open()
        orderly = self._rng.random() < 0.4
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(partition.run, "n1", epoch)
                await self._act(partition, nursery)
                if orderly:
                    partition.stop()
                    await partition.closed.wait()
                else:
                    self._disk.cut_power_at(1)
                    nursery.cancel_scope.cancel()
                    self._threads.kill()
        except* (LogFailed, PowerCut, UnreadableRecord):
            assert not orderly
        if self._rng.random() < 0.5:
            self._disk.crash(self._rng)
            self._views.revert(self._rng.randrange(3))
        else:
            self._disk.abandon()

    async def _act(self, partition: Partition, nursery: trio.Nursery) -> None:
        for _ in range(STEPS):
            self._rng.choices(_ACTIONS, _WEIGHTS)[0](self, partition)
            if self._rng.random() < 0.2:
                nursery.start_soon(partition.retirement.run, self._clock.now_ms())
            if self._rng.random() < 0.7:
                await trio.sleep(self._rng.choice((0.001, 0.03, 0.2, 1.5)))

    def _open(self) -> Partition:
        env = Environment(
            clock=self._clock, disk=self._disk, threads=self._threads, random=self._rng
        )
        partition = Partition.open(
            env,
            IDENTITY,
            directory=DIRECTORY,
            views=self._views.open(),
            cache=RecordCache(1 << 20),
            log_options=LOG,
            options=COMMIT,
            retention=self._retention,
            on_dead_letters=lambda _partition, _letters: None,
        )
        log = partition.history().log
        self._note_committed(log)
        partition.committer.listeners.append(lambda: self._note_committed(log))
        return partition

    def _note_committed(self, log: Log) -> None:
        known = self._truth.committed
        self._truth.commit(log.scan(known[-1].next_lsn if known else 0))

    # What happens in a life.

    def publish(self, partition: Partition) -> None:
        """New events, due at any time, and now and then one that is known."""
        rng, truth = self._rng, self._truth
        rows: list[Row] = []
        for _ in range(rng.choice((1, 1, 2, 6))):
            message_id = b"%d" % len(truth.sent)
            if truth.sent and rng.random() < 0.2:
                message_id = rng.choice(list(truth.sent))
            payload = truth.sent.setdefault(message_id, message_id * rng.choice((0, 5, 50)))
            due_ms = START_MS + int(message_id) * 379 % 12_000
            rows.append(Row(message_id, due_ms, b"", b"", payload))

        def stored(answer: Placement | ChronosError) -> None:
            assert isinstance(answer, Placement), answer
            offsets = answer.offsets or range(answer.first_offset, answer.first_offset + len(rows))
            for row, offset in zip(rows, offsets, strict=True):
                known = truth.stored.setdefault(offset, row.message_id)
                assert known == row.message_id, "I6: two events at one offset"

        partition.publish(EventBatch(encode_batch(rows)), stored)

    def cancel(self, partition: Partition) -> None:
        """An event, which may have fired."""
        if self._truth.sent:
            message_id = self._rng.choice(list(self._truth.sent))
            partition.change(message_id, None, lambda _: None)

    def move(self, partition: Partition) -> None:
        """An event is due at another time, or too late for that."""
        if self._truth.sent:
            message_id = self._rng.choice(list(self._truth.sent))
            due_ms = self._clock.now_ms() + self._rng.randrange(5000)
            partition.change(message_id, due_ms, lambda _: None)

    def create_group(self, partition: Partition) -> None:
        """Begins at the first event or at the next."""
        start = self._rng.choice(("earliest", "latest"))
        partition.create_group(self._rng.choice(GROUPS), start, lambda _: None)

    def reset_group(self, partition: Partition) -> None:
        """A group begins again, or ends."""
        name = self._rng.choice(GROUPS)
        if self._rng.random() < 0.5:
            partition.end_group(name, lambda _: None)
        elif name in partition.state.groups:
            partition.reset_group(name, self._position(partition), lambda _: None)

    def settle(self, partition: Partition) -> None:
        """Some of what has fired."""
        for name, group in partition.state.groups.items():
            start = group.cursor.low if self._rng.random() < 0.7 else self._position(partition)
            stop = min(start + self._rng.randint(1, 9), partition.committer.end_position)
            if start < stop:
                proposal = SettleProposal(name, group, SettleReason.ACKED)
                proposal.add([(start, stop)], lambda _: None)
                partition.committer.submit(proposal)

    def retry(self, partition: Partition) -> None:
        """A delivery failed."""
        for name, group in partition.state.groups.items():
            position = self._position(partition)
            if position >= group.cursor.low and position < partition.committer.end_position:
                row = RetryRow(position, self._rng.randint(2, 9), START_MS + 10_000)
                partition.committer.submit(proposals.retry(name, group, [row], lambda _: None))

    def _position(self, partition: Partition) -> int:
        return self._rng.randint(partition.state.first_position, partition.committer.end_position)

    # What is checked.

    def _check(self, disk: MemoryDisk) -> None:
        """A disk after a power cut, with a view store that lost some of its last changes, or all."""
        age = self._dice.choice((0, 0, 0, 1, 2, 5, None))
        history = self._views.history
        rows = {} if age is None else history[max(0, len(history) - 1 - age)]
        store = store_of(rows)
        now_ms = self._clock.now_ms()
        log, recovered = self._recover(disk, store, now_ms)
        model = self._truth.extended_by(log)
        model.compare(recovered, now_ms)
        rebuilt = PartitionState(log, IDENTITY.log_id, MemoryKV(), now_ms)
        rebuilt.recover()
        model.compare(rebuilt, now_ms)
        assert recovered.epoch == rebuilt.epoch
        assert recovered.applied_lsn == rebuilt.applied_lsn == log.end_lsn

    def _recover(
        self, disk: MemoryDisk, store: MemoryKV, now_ms: int
    ) -> tuple[Log, PartitionState]:
        part = store.namespaced(IDENTITY.log_id)
        trusted = durable_lsn(part, IDENTITY.log_id)
        log = Log.open(disk, DIRECTORY, LOG, log_id=IDENTITY.log_id, durable_lsn=trusted)
        state = PartitionState(log, IDENTITY.log_id, part, now_ms)
        state.recover()
        return log, state


_Action = Callable[[PartitionScript, Partition], None]
_ACTIONS: Final[tuple[_Action, ...]] = (
    *(PartitionScript.publish, PartitionScript.settle, PartitionScript.retry),
    *(PartitionScript.cancel, PartitionScript.move),
    *(PartitionScript.create_group, PartitionScript.reset_group),
)
_WEIGHTS: Final = (10, 5, 2, 3, 3, 2, 1)

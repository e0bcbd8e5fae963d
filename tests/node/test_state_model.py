"""A partition's state against dictionaries: whatever was checkpointed, lost and applied again (I1, I8, I13)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chronosdb.node.partition import records
from chronosdb.node.partition.due import Due
from chronosdb.node.partition.records import RetryRow, SettleReason
from chronosdb.node.partition.state import Checkpoint, PartitionState
from chronosdb.node.partition.timer_memory import TimerMemory
from chronosdb.sched import Retry
from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.wal import Draft, Log, LogOptions, MemoryKV
from chronosdb.wire import EventBatch, encode_batch
from tests.support.raw_client import event

LOG_ID = b"a log of 16 byte"
START_MS = 1_900_000_000_000
#: Beyond every time in here; some are far apart, so that timers lie in several rows.
END_MS = START_MS + (1 << 32)
EPOCH = 1

NAMES = ("g", "h")

groups = st.sampled_from(NAMES)
waits = st.one_of(st.integers(0, 50), st.sampled_from([1 << 20, 1 << 21, 1 << 30]))
#: Chooses among as many things as there are, in whatever proportion.
masks = st.integers(0, 255)


@dataclass
class Group:
    """What is known of a group."""

    settled: set[int]
    retries: dict[int, Retry] = field(default_factory=dict)


class PartitionStateAgainstDictionaries(RuleBasedStateMachine):
    """Records come one by one; checkpoints begin and end between them; views and process are lost."""

    @initialize(
        timer_bytes=st.sampled_from([64, 256, 1 << 20]), save_every=st.sampled_from([1, 1 << 20])
    )
    def start(self, timer_bytes: int, save_every: int) -> None:
        self.save_every = save_every
        self.memory = TimerMemory(timer_bytes)
        self.now_ms = START_MS
        self.log = Log.open(MemoryDisk(), "/log", LogOptions(), log_id=LOG_ID)
        self.store = MemoryKV()
        self.state = self.opened()
        self.checkpoint: Checkpoint | None = None
        self.serial = count()
        #: Message id of each offset, and the latest offset of each.
        self.ids: list[bytes] = []
        self.latest: dict[bytes, int] = {}
        #: Events below are outside the dedup window, and may be forgotten once they are not pending.
        self.floor = 0
        self.window_ms: int | None = None
        self.applied_ms = 0
        #: Log time of each record, and the offset of the next event behind it.
        self.records: list[tuple[int, int]] = []
        #: When each pending event is due.
        self.pending: dict[int, int] = {}
        self.cancelled: set[int] = set()
        #: Where a moved event was moved last.
        self.moved: dict[int, int] = {}
        self.fired = 0
        self.groups: dict[str, Group] = {}
        for name in NAMES:
            self.begin_group(name, 0)

    def opened(self) -> PartitionState:
        state = PartitionState(self.log, LOG_ID, self.store, self.now_ms, self.memory)
        state.recover(save_every=self.save_every)
        return state

    def write(self, *drafts: Draft) -> None:
        """As the committer does: one group, then its records in turn, then the wheel."""
        for record in self.log.append(drafts):
            self.records.append((record.ts_ms, record.offset))
            self.applied_ms = record.ts_ms
            self.state.apply(record)
        self.log.sync()
        self.state.timers.place()

    def batch(self, waits: list[int]) -> EventBatch:
        """Events under new ids, but for the first: its id was used before, if one may be."""
        names = [f"e{next(self.serial)}" for _ in waits]
        names[0] = next((i.decode() for i in self.latest if self.may_be_used(i)), names[0])
        rows = [event(name, self.now_ms + wait) for name, wait in zip(names, waits, strict=True)]
        first = len(self.ids)
        self.ids += [row.message_id for row in rows]
        self.latest |= {row.message_id: first + i for i, row in enumerate(rows)}
        self.pending |= {first + i: row.due_ms for i, row in enumerate(rows)}
        return EventBatch(encode_batch(rows))

    def must_know(self, offset: int) -> bool:
        """Whether the event is in the dedup window, or pending."""
        return offset >= self.floor or offset in self.pending

    def may_be_used(self, message_id: bytes) -> bool:
        return self.state.dedup.find([message_id]) in (None, [None])

    def chosen(self, mask: int) -> list[int]:
        """Some of the pending offsets."""
        return [o for i, o in enumerate(self.pending) if mask >> i % 8 & 1]

    def due_now(self, limit: int) -> list[tuple[int, int]]:
        rows = sorted((due_ms, offset) for offset, due_ms in self.pending.items())
        return [row for row in rows if row[0] <= self.now_ms][:limit]

    def fire(self, rows: list[tuple[int, int]]) -> Draft:
        for _, offset in rows:
            del self.pending[offset]
        self.fired += len(rows)
        return records.fire(columns(rows), self.now_ms, EPOCH)

    @rule(waits=st.lists(waits, min_size=1, max_size=5))
    def publish(self, waits: list[int]) -> None:
        self.write(records.publish(self.batch(waits), self.now_ms, EPOCH))

    @rule(waits=st.lists(waits, min_size=1, max_size=3))
    def publish_what_is_due_at_once(self, waits: list[int]) -> None:
        first = len(self.ids)
        published = records.publish(self.batch([0, *waits]), self.now_ms, EPOCH)
        self.write(published, self.fire([(self.now_ms, first)]))

    @rule(wait=waits, limit=st.integers(1, 4))
    def let_time_pass(self, wait: int, limit: int) -> None:
        self.now_ms = min(self.now_ms + wait, END_MS)
        expired = self.state.timers.expire(self.now_ms, limit)
        due = self.due_now(limit)
        # What was cancelled or moved may take a place among the first `limit`.
        assert rows_of(expired) == due[: expired.size]
        if expired.size:
            self.write(self.fire(rows_of(expired)))

    @precondition(lambda self: self.pending)
    @rule(mask=masks)
    def cancel(self, mask: int) -> None:
        if offsets := self.chosen(mask):
            self.write(records.cancel(np.array(offsets, np.int64), self.now_ms, EPOCH))
            self.cancelled |= set(offsets)
            for offset in offsets:
                del self.pending[offset]

    @precondition(lambda self: self.pending)
    @rule(mask=masks, wait=waits)
    def move(self, mask: int, wait: int) -> None:
        if offsets := self.chosen(mask):
            due_ms = self.now_ms + 1 + wait
            moved = columns([(due_ms, offset) for offset in offsets])
            self.write(records.move(moved, self.now_ms, EPOCH))
            self.pending |= dict.fromkeys(offsets, due_ms)
            self.moved |= dict.fromkeys(offsets, due_ms)

    @rule(ago=waits)
    def slide_the_window(self, ago: int) -> None:
        floor = self.floor_at(self.now_ms - ago)
        if floor >= self.floor:
            self.floor, self.window_ms = floor, ago
            self.state.slide_window(self.now_ms, ago)

    def floor_at(self, since_ms: int) -> int:
        inside = (offset for ts_ms, offset in self.records if ts_ms >= since_ms)
        return next(inside, len(self.ids))

    @rule(name=groups, start=st.integers(0, 20))
    def begin_group(self, name: str, start: int) -> None:
        start = min(start, self.fired)
        self.write(records.group(name, start, self.now_ms, EPOCH))
        self.groups[name] = Group(set(range(start)))

    @rule(name=groups)
    def end_group(self, name: str) -> None:
        if name in self.groups:
            self.write(records.group(name, records.ENDED, self.now_ms, EPOCH))
            del self.groups[name]

    @precondition(lambda self: self.fired)
    @rule(name=groups, start=st.integers(0, 40), length=st.integers(1, 5))
    def settle(self, name: str, start: int, length: int) -> None:
        group = self.groups.get(name)
        if group is not None:
            start %= self.fired
            stop = min(start + length, self.fired)
            reason = SettleReason.ACKED
            self.write(records.settle(name, reason, [(start, stop)], self.now_ms, EPOCH))
            group.settled |= set(range(start, stop))
            group.retries = {p: r for p, r in group.retries.items() if p not in group.settled}

    @precondition(lambda self: self.fired)
    @rule(name=groups, position=st.integers(0, 40), attempt=st.integers(2, 9), wait=waits)
    def fail(self, name: str, position: int, attempt: int, wait: int) -> None:
        group = self.groups.get(name)
        if group is not None:
            row = RetryRow(position % self.fired, attempt, self.now_ms + wait)
            self.write(records.retry(name, [row], self.now_ms, EPOCH))
            if row.position not in group.settled:
                group.retries[row.position] = Retry(row.attempt, row.due_ms)

    @precondition(lambda self: self.fired)
    @rule(name=groups, position=st.integers(0, 40))
    def fail_behind_the_ack(self, name: str, position: int) -> None:
        """A delivery timed out while the ack of another attempt was on its way."""
        self.settle(name, position, 1)
        self.fail(name, position, 2, 0)

    @precondition(lambda self: self.checkpoint is None)
    @rule()
    def begin_checkpoint(self) -> None:
        """What has left the window by the time of the last record applied is forgotten for good."""
        if self.window_ms is not None:
            self.floor = max(self.floor, self.floor_at(self.applied_ms - self.window_ms))
        self.checkpoint = self.state.begin_checkpoint()

    @precondition(lambda self: self.checkpoint is not None)
    @rule()
    def end_checkpoint(self) -> None:
        assert self.checkpoint is not None
        self.checkpoint.write()
        self.state.end_checkpoint(self.checkpoint)
        self.checkpoint = None

    @precondition(lambda self: self.checkpoint is None)
    @rule(waits=st.lists(waits, min_size=1, max_size=3))
    def checkpoint_while_a_group_is_written(self, waits: list[int]) -> None:
        """Its records are in the log and nowhere else."""
        draft = records.publish(self.batch(waits), self.now_ms, EPOCH)
        [record] = self.log.append([draft])
        self.records.append((record.ts_ms, record.offset))
        self.begin_checkpoint()
        self.log.sync()
        self.applied_ms = record.ts_ms
        self.state.apply(record)
        self.state.timers.place()
        self.end_checkpoint()

    @precondition(lambda self: self.checkpoint is None)
    @rule()
    def crash_behind_a_checkpoint(self) -> None:
        self.begin_checkpoint()
        self.end_checkpoint()
        self.crash("as saved")

    @rule(views=st.sampled_from(["as saved", "saved just now", "lost"]))
    def crash(self, views: str) -> None:
        if views == "lost":
            self.store = MemoryKV()
        elif views == "saved just now" and self.checkpoint is not None:
            self.checkpoint.write()
        self.checkpoint = None
        self.state = self.opened()

    @invariant()
    def it_knows_what_is_pending(self) -> None:
        timers = self.state.timers
        shown = [row for due in timers.between(START_MS, 2 * END_MS) for row in rows_of(due)]
        assert shown == sorted((due_ms, offset) for offset, due_ms in self.pending.items())
        assert len(timers.pending) == len(self.pending)
        assert [o for o in range(len(self.ids)) if o in timers.cancelled] == sorted(self.cancelled)
        wanted = {o: due_ms for o, due_ms in self.moved.items() if self.must_know(o)}
        assert {o: timers.due_of(o) for o in wanted} == wanted

    @invariant()
    def it_knows_every_id_in_the_window_or_pending(self) -> None:
        """Of others, it may have forgotten that there is such an event, not which it is."""
        ids = list(self.latest)
        found = self.state.dedup.find(ids) or [None] * len(ids)
        for message_id, offset in zip(ids, found, strict=True):
            latest = self.latest[message_id]
            assert offset == latest or (offset is None and not self.must_know(latest))

    @invariant()
    def it_knows_how_far_groups_are(self) -> None:
        settled = {
            name: {p for p in range(self.fired) if group.cursor.is_settled(p)}
            for name, group in self.state.groups.items()
        }
        assert settled == {name: group.settled for name, group in self.groups.items()}
        retries = {name: group.retries for name, group in self.state.groups.items()}
        assert retries == {name: group.retries for name, group in self.groups.items()}

    @invariant()
    def it_has_applied_the_log(self) -> None:
        assert self.state.applied_lsn == self.log.end_lsn
        assert self.state.epoch == (EPOCH if self.log.end_lsn else 0)

    def teardown(self) -> None:
        """Every pending timer comes out of the wheel, once and in order."""
        rows = []
        while (expired := self.state.timers.expire(2 * END_MS, 1 << 20)).size:
            rows += rows_of(expired)
        assert rows == sorted((due_ms, offset) for offset, due_ms in self.pending.items())


def columns(rows: list[tuple[int, int]]) -> Due:
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return Due(table[:, 0].copy(), table[:, 1].copy())


def rows_of(due: Due) -> list[tuple[int, int]]:
    return list(zip(due.due_ms.tolist(), due.offsets.tolist(), strict=True))


TestPartitionState = PartitionStateAgainstDictionaries.TestCase
TestPartitionState.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

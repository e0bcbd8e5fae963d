"""Timers of which few are at hand, against a dictionary: loaded in time, once, in order, whatever is lost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chronosdb.node.partition.due import Due
from chronosdb.node.partition.slices import Portion
from chronosdb.node.partition.timer_memory import TimerMemory
from chronosdb.node.partition.timers import Timers
from chronosdb.wal import MemoryKV

START_MS = 1_900_000_000_000
SLICE_MS = 1 << 14

Rows = list[tuple[bytes, bytes]]

#: Most are due together, or at the edges of slices.
waits = st.one_of(
    st.integers(0, 4),
    st.sampled_from([SLICE_MS - 1, SLICE_MS, 3 * SLICE_MS, 1 << 30]),
    st.integers(0, 40),
)
masks = st.integers(0, 255)


class TimersAgainstADictionary(RuleBasedStateMachine):
    """Checkpoints and loads begin, are under way, and end; what was not saved is applied again."""

    @initialize(nbytes=st.sampled_from([64, 160, 1 << 20]))
    def start(self, nbytes: int) -> None:
        self.memory = TimerMemory(nbytes)
        self.now_ms = START_MS
        self.store = MemoryKV()
        self.timers = Timers(self.store, self.now_ms, self.memory)
        self.count = 0
        #: When each pending event is due.
        self.pending: dict[int, int] = {}
        #: What has been done since the last checkpoint began: as the log would say it.
        self.log: list[tuple[str, Due]] = []
        self.unsaved_log: list[tuple[str, Due]] = []
        self.lsn = 0
        self.saving: Iterator[tuple[bytes, bytes]] | None = None
        self.written: Rows = []
        self.loading: list[Portion] | None = None

    def do(self, what: str, due: Due) -> None:
        """Apply one record."""
        self.log.append((what, due))
        self.lsn += 1
        apply(self.timers, what, due)
        self.timers.place()

    def chosen(self, mask: int) -> list[int]:
        return [o for i, o in enumerate(self.pending) if mask >> i % 8 & 1]

    @rule(waits=st.lists(waits, min_size=1, max_size=12))
    def publish(self, waits: list[int]) -> None:
        rows = [(self.now_ms + wait, self.count + i) for i, wait in enumerate(waits)]
        self.count += len(rows)
        self.pending |= {offset: due_ms for due_ms, offset in rows}
        self.do("publish", columns(rows))

    @precondition(lambda self: self.pending)
    @rule(mask=masks)
    def cancel(self, mask: int) -> None:
        if offsets := self.chosen(mask):
            self.do("cancel", columns([(self.pending.pop(o), o) for o in offsets]))

    @precondition(lambda self: self.pending)
    @rule(mask=masks, wait=waits)
    def move(self, mask: int, wait: int) -> None:
        if offsets := self.chosen(mask):
            self.pending |= dict.fromkeys(offsets, self.now_ms + wait)
            self.do("move", columns([(self.now_ms + wait, o) for o in offsets]))

    @precondition(lambda self: self.pending)
    @rule(mask=masks, wait=waits)
    def move_away_and_back(self, mask: int, wait: int) -> None:
        if offsets := self.chosen(mask):
            there = columns([(self.now_ms + wait, o) for o in offsets])
            back = columns([(self.pending[o], o) for o in offsets])
            self.do("move", there)
            self.do("move", back)

    @rule(wait=waits, limit=st.integers(1, 6), disk_is_full=st.booleans())
    def let_time_pass(self, wait: int, limit: int, disk_is_full: bool) -> None:
        self.now_ms += wait
        expired = self.timers.expire(self.now_ms, limit)
        # What was cancelled or moved may take a place among the first `limit`.
        assert rows_of(expired) == self.due_now()[: expired.size]
        if disk_is_full:
            self.timers.put_back(expired)
        elif expired.size:
            for offset in expired.offsets.tolist():
                del self.pending[offset]
            self.do("fire", expired)

    @rule(wait=waits)
    def fire_all_that_is_due(self, wait: int) -> None:
        """As a committer does that is asked again as long as it should be."""
        self.now_ms += wait
        due = self.due_now()
        fired: list[tuple[int, int]] = []
        while (wakeup_ms := self.timers.next_wakeup_ms()) is not None and wakeup_ms <= self.now_ms:
            expired = self.timers.expire(self.now_ms, 3)
            fired += rows_of(expired)
            if expired.size:
                self.do("fire", expired)
        assert fired == due
        for _, offset in due:
            del self.pending[offset]

    @rule()
    def sweep(self) -> None:
        self.timers.sweep(self.now_ms)

    @precondition(lambda self: self.saving is None and self.loading is None)
    @rule()
    def begin_checkpoint(self) -> None:
        self.unsaved_log, self.log = self.log, []
        self.saving = self.timers.begin_checkpoint(self.lsn)
        self.stale = self.timers.stale_rows()
        self.rows = list(self.saving)

    @precondition(lambda self: self.saving is not None)
    @rule()
    def end_checkpoint(self) -> None:
        self.store.write(self.rows)
        self.timers.end_checkpoint()
        self.store.delete_range(*self.stale)
        self.unsaved_log = []
        self.saving = None

    @precondition(lambda self: self.saving is None and self.loading is None)
    @rule()
    def begin_to_load(self) -> None:
        if self.timers.has_room:
            self.loading = [
                part
                for portion in self.timers.read(self.timers.missing())
                for part in portion.parts(2)
            ]

    @precondition(lambda self: self.loading is not None)
    @rule()
    def end_loading(self) -> None:
        assert self.loading is not None
        for portion in self.loading:
            self.timers.take_in(portion)
        self.loading = None

    @precondition(lambda self: self.loading)
    @rule()
    def go_on_loading(self) -> None:
        assert self.loading is not None
        self.timers.take_in(self.loading.pop(0))

    @precondition(lambda self: self.saving is None and self.loading is None)
    @rule(wait=waits)
    def load_too_late(self, wait: int) -> None:
        """What the thread reads is due before it has read it, or room is needed for something else."""
        self.publish([1, 2, 2, 3, 3, 3, 4, wait])
        self.begin_to_load()
        self.let_time_pass(wait, limit=6, disk_is_full=True)
        if self.loading is not None:
            self.end_loading()
        self.fire_all_that_is_due(0)

    @rule(written=st.booleans())
    def crash(self, written: bool) -> None:
        """In the store is the last checkpoint, perhaps the one under way; the rest is in the log."""
        again = [*self.unsaved_log, *self.log]
        if self.saving is not None and written:
            self.store.write(self.rows)
            again = self.log
        self.saving = self.loading = None
        self.timers = Timers(self.store, self.now_ms, self.memory)
        self.timers.load()
        for what, due in again:
            apply(self.timers, what, due)
        self.timers.place()
        self.timers.fill()
        self.log, self.unsaved_log = again, []

    @invariant()
    def it_shows_what_is_pending(self) -> None:
        shown = [row for due in self.timers.between(0, START_MS * 2) for row in rows_of(due)]
        assert shown == sorted((due_ms, offset) for offset, due_ms in self.pending.items())

    @invariant()
    def it_wakes_in_time(self) -> None:
        wakeup_ms = self.timers.next_wakeup_ms()
        first_ms = min(self.pending.values(), default=None)
        assert first_ms is None or (wakeup_ms is not None and wakeup_ms <= first_ms)

    def due_now(self) -> list[tuple[int, int]]:
        rows = sorted((due_ms, offset) for offset, due_ms in self.pending.items())
        return [row for row in rows if row[0] <= self.now_ms]


def apply(timers: Timers, what: str, due: Due) -> None:
    if what == "publish":
        timers.publish(due.due_ms, int(due.offsets[0]))
    elif what == "move":
        timers.move(due)
    elif what == "cancel":
        timers.cancel(due.offsets)
    else:
        timers.fire(due.offsets)


def columns(rows: list[tuple[int, int]]) -> Due:
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return Due(table[:, 0].copy(), table[:, 1].copy())


def rows_of(due: Due) -> list[tuple[int, int]]:
    return list(zip(due.due_ms.tolist(), due.offsets.tolist(), strict=True))


TestTimers = TimersAgainstADictionary.TestCase
TestTimers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

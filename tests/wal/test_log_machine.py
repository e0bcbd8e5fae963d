"""A log against a list, over any sequence of appends, syncs, drops, kills, power cuts and restarts."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chronosdb.wal import Draft, Log, LogOptions, OutOfRange, Record, verify
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, open_log

OPTIONS = LogOptions(
    segment_bytes=1200,
    max_record_bytes=300,
    index_interval_bytes=128,
    disk_reserve_bytes=0,
    allocate_min_bytes=100,
    allocate_max_bytes=800,
    scan_bytes=100,
    open_files_max=1,
)

drafts = st.builds(
    Draft,
    kind=st.integers(1, 65535),
    ts_ms=st.integers(0, 10_000),
    body=st.lists(st.binary(max_size=150), max_size=2),
    offsets=st.integers(0, 5),
    positions=st.integers(0, 5),
    epoch=st.integers(0, 3),
)
groups = st.lists(drafts, min_size=1, max_size=3)


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.log: Log | None = open_log(self.disk, OPTIONS)
        self.written: list[Record] = []
        self.dropped = 0
        """So many of these are below the start."""
        self.synced = 0

    @precondition(lambda self: self.log)
    @rule(group=groups, reserve=st.booleans())
    def append(self, group: list[Draft], reserve: bool) -> None:
        assert self.log
        if reserve:
            self.log.reserve(sum(d.nbytes for d in group))
        records = self.log.append(group)
        assert [bytes(r.body) for r in records] == [b"".join(d.body) for d in group]
        self.written += records

    @precondition(lambda self: self.log)
    @rule()
    def sync(self) -> None:
        assert self.log
        self.log.sync()
        self.synced = len(self.written)

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        assert self.log
        before = self.log.segments()
        lsn = data.draw(st.integers(0, self.log.end_lsn + 1))
        self.log.drop_before(lsn)
        assert self.log.segments() == [s for s in before[:-1] if s.end.lsn > lsn] + before[-1:]
        self.dropped = sum(record.lsn < self.log.start_lsn for record in self.written)

    @precondition(lambda self: self.log)
    @rule()
    def close(self) -> None:
        assert self.log
        self.log.close()
        self.log = None
        self.synced = len(self.written)

    @rule()
    def kill(self) -> None:
        """The process dies; what it wrote stays in the page cache."""
        self.log = None

    @rule(seed=st.none() | st.integers(0, 2**32))
    def cut_power(self, seed: int | None) -> None:
        self.log = None
        self.disk.crash(None if seed is None else Random(seed))
        report = verify(self.disk, DIRECTORY)
        assert report.ok, str(report)

    @precondition(lambda self: not self.log)
    @rule()
    def restart(self) -> None:
        self.log = open_log(self.disk, OPTIONS)
        found = self.written[: self.dropped] + list(self.log.scan())
        assert found == self.written[: len(found)]
        assert len(found) >= self.synced
        assert self.log.synced_lsn == self.log.end_lsn
        self.written = found
        self.synced = len(found)

    @precondition(lambda self: self.log and self.written[self.dropped :])
    @rule(data=st.data())
    def look_up(self, data: st.DataObject) -> None:
        assert self.log
        stored = self.written[self.dropped :]
        record = data.draw(st.sampled_from(stored))
        assert self.log.read(record.lsn) == record
        if record.offsets:
            assert self.log.at_offset(record.end.offset - 1).lsn == record.lsn
        if record.positions:
            assert self.log.at_position(record.end.position - 1).lsn == record.lsn
        first = next(r for r in stored if r.ts_ms >= record.ts_ms)
        assert self.log.at_time(record.ts_ms).lsn == first.lsn

    @precondition(lambda self: self.log and self.dropped)
    @rule(data=st.data())
    def look_below(self, data: st.DataObject) -> None:
        assert self.log
        record = data.draw(st.sampled_from(self.written[: self.dropped]))
        with pytest.raises(OutOfRange):
            self.log.read(record.lsn)
        if record.offsets:
            with pytest.raises(OutOfRange):
                self.log.at_offset(record.offset)

    @invariant()
    def counters_continue(self) -> None:
        if not self.log:
            return
        end = self.written[-1].end if self.written else None
        assert self.log.end_lsn == (end.lsn if end else 0)
        assert self.log.next_offset == (end.offset if end else 0)
        assert self.log.next_position == (end.position if end else 0)
        assert self.log.last_ts_ms == (end.ts_ms if end else 0)
        assert self.log.synced_lsn <= self.log.end_lsn
        with pytest.raises(OutOfRange):
            self.log.at_offset(self.log.next_offset)


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

"""A log that is a copy of others, against a list: it takes records, loses them again, begins elsewhere.

Power is cut in the middle of any of it. What is there afterwards is what was there before, or what was
being done, and all that was durable.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chronosdb.wal import DamagedRecord, Draft, Log, LogFailed, LogOptions, Point, Record, verify
from chronosdb.wal.codec import encode_group
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, open_log

if TYPE_CHECKING:
    from collections.abc import Callable

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

batches = st.lists(
    st.lists(
        st.builds(
            Draft,
            kind=st.integers(1, 9),
            ts_ms=st.integers(0, 10_000),
            body=st.lists(st.binary(max_size=150), max_size=1),
            offsets=st.integers(0, 5),
            positions=st.integers(0, 5),
        ),
        min_size=1,
        max_size=3,
    ),
    min_size=1,
    max_size=4,
)
points = st.builds(
    Point,
    lsn=st.integers(0, 5000),
    offset=st.integers(0, 99),
    position=st.integers(0, 99),
    ts_ms=st.integers(0, 10_000),
)
# After so many calls of the disk the power is cut; None: it is not.
cuts = st.none() | st.integers(1, 30)
NEVER = 10**9


class Model:
    """What the log holds, and up to which LSN no power cut may take it."""

    def __init__(self, start: Point, records: list[Record], durable_lsn: int) -> None:
        self.start = start
        self.records = records
        self.durable_lsn = durable_lsn

    @property
    def end(self) -> Point:
        return self.records[-1].end if self.records else self.start

    def plus(self, records: list[Record]) -> Model:
        return Model(self.start, self.records + records, self.durable_lsn)

    def cut(self, lsn: int) -> Model:
        return Model(self.start, [r for r in self.records if r.lsn < lsn], lsn)

    def allows(self, log: Log) -> bool:
        found = list(log.scan())
        return (
            log.point(log.start_lsn) == self.start
            and found == self.records[: len(found)]
            and log.end_lsn >= self.durable_lsn
        )


class ReplicaMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.log = open_log(self.disk, OPTIONS)
        self.model = Model(Point(0, 0, 0, 0), [], 0)
        self.epoch = 0

    def attempt(self, act: Callable[[], object], coming: Model, after: int | None) -> None:
        """Does it; or power is cut on the way, which leaves what was there or what was to come."""
        if after is not None:
            self.disk.cut_power_at(after)
        try:
            act()
        except (LogFailed, DamagedRecord):
            self.recover(self.model, coming, seed=after)
        else:
            self.disk.cut_power_at(NEVER)
            self.model = coming
            self.model.durable_lsn = max(coming.durable_lsn, self.log.synced_lsn)

    def recover(self, *models: Model, seed: int | None) -> None:
        """Cuts the power; what the next start finds is what one of these allows."""
        self.disk.crash(None if seed is None else Random(seed))
        report = verify(self.disk, DIRECTORY)
        assert report.ok, str(report)
        self.log = open_log(self.disk, OPTIONS)
        model = next(model for model in reversed(models) if model.allows(self.log))
        self.model = model.cut(self.log.end_lsn)

    @rule(groups=batches, after=cuts, newer=st.booleans())
    def copy(self, groups: list[list[Draft]], after: int | None, newer: bool) -> None:
        """Groups of a leader, each of which was written when all before it was durable there."""
        self.epoch += newer
        raw, records, point = b"", list[Record](), self.model.end
        for group in groups:
            drafts = [replace(draft, epoch=self.epoch) for draft in group]
            buffers, more, point = encode_group(drafts, point, point.lsn)
            raw += b"".join(buffers)
            records += more
        self.attempt(lambda: self.log.copy(raw), self.model.plus(records), after)

    @rule(groups=batches)
    def lead(self, groups: list[list[Draft]]) -> None:
        """Whoever copied may have to write by itself."""
        self.epoch += 1
        for group in groups:
            self.model = self.model.plus(
                self.log.append([replace(draft, epoch=self.epoch) for draft in group])
            )
        self.model.durable_lsn = max(self.model.durable_lsn, self.log.synced_lsn)

    @rule(after=cuts)
    def sync(self, after: int | None) -> None:
        self.attempt(self.log.sync, self.model.cut(self.log.end_lsn), after)

    @rule(data=st.data(), after=cuts)
    def truncate(self, data: st.DataObject, after: int | None) -> None:
        places = [record.lsn for record in self.model.records] + [self.model.end.lsn]
        lsn = data.draw(st.sampled_from(places[::-1]))
        self.attempt(lambda: self.log.truncate(lsn), self.model.cut(lsn), after)

    @rule(start=points, after=cuts)
    def reset(self, start: Point, after: int | None) -> None:
        self.attempt(lambda: self.log.reset(start), Model(start, [], start.lsn), after)

    @precondition(lambda self: len(self.log.segments()) > 1)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        start = data.draw(st.sampled_from(self.log.segments())).start
        self.log.drop_before(start.lsn)
        kept = [record for record in self.model.records if record.lsn >= start.lsn]
        self.model = Model(start, kept, self.model.durable_lsn)

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        """In good order, or after a kill: then everything written is in the page cache."""
        if clean:
            self.log.close()
        self.log = open_log(self.disk, OPTIONS)
        assert list(self.log.scan()) == self.model.records
        self.model = self.model.cut(self.log.end_lsn)

    @rule(seed=st.none() | st.integers(0, 2**32))
    def cut_power(self, seed: int | None) -> None:
        self.recover(self.model, seed=seed)

    @precondition(lambda self: self.model.records)
    @rule(data=st.data())
    def look_up(self, data: st.DataObject) -> None:
        records = self.model.records
        record = data.draw(st.sampled_from(records))
        assert self.log.read(record.lsn) == record
        assert self.log.point(record.next_lsn) == record.end
        if record.offsets:
            assert self.log.at_offset(record.offset) == record
        if record.positions:
            assert self.log.at_position(record.end.position - 1) == record
        first = next(r for r in records if r.ts_ms >= record.ts_ms)
        assert self.log.at_time(record.ts_ms) == first

    @rule(max_bytes=st.integers(1, 3000))
    def can_be_copied(self, max_bytes: int) -> None:
        """Another log that begins where this one does takes all of it."""
        other = open_log(MemoryDisk(), OPTIONS)
        other.reset(self.model.start)
        while raw := self.log.raw(other.end_lsn, max_bytes):
            other.copy(raw)
        assert list(other.scan()) == self.model.records

    @invariant()
    def ends_are_right(self) -> None:
        assert self.log.point(self.log.start_lsn) == self.model.start
        assert self.log.point(self.log.end_lsn) == self.model.end
        assert self.log.synced_lsn <= self.log.end_lsn


TestReplicaMachine = ReplicaMachine.TestCase
TestReplicaMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)

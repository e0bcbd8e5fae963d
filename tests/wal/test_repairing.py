"""A damaged record gets its bytes back from another copy of the log, and nothing else is ever changed."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest

from chronosdb.wal import (
    BadCopy,
    DamagedRecord,
    LogClosed,
    LogDamaged,
    LogFailed,
    OutOfRange,
    Record,
    verify,
)
from chronosdb.wal.codec import encode_group
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, draft, grow, open_log, records_of

RECORD_BYTES = 84


class Copies:
    """A log that is being written, and another copy of it that is whole."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.log = open_log(self.disk)
        self.records = grow(self.log, groups=30)
        self.whole = open_log(self.disk.copy(), writable=False)
        assert len(self.log.segments()) == 5

    def raw(self, record: Record) -> bytes:
        """What another copy has there."""
        return self.whole.raw(record.lsn, 1)

    def damage(self, record: Record, at: int = 70, nbytes: int = 1) -> None:
        """Flips bytes, from one in the record on."""
        base = self.segment_of(record)
        path = f"{DIRECTORY}/{base:020d}.log"
        pos = 64 + record.lsn - base + at
        data = self.disk.read_file(path)[pos : pos + nbytes]
        self.disk.damage(path, pos, bytes(byte ^ 0xFF for byte in data))

    def segment_of(self, record: Record) -> int:
        return max(s.start.lsn for s in self.log.segments() if s.start.lsn <= record.lsn)

    def edges(self) -> list[Record]:
        """The first and last record of the log and of a sealed segment, and one in the middle."""
        second = self.log.segments()[1]
        wanted = {0, second.start.lsn, second.start.lsn + 3 * RECORD_BYTES}
        ends = {second.end.lsn, self.log.end_lsn}
        return [r for r in self.records if r.lsn in wanted or r.next_lsn in ends]


@pytest.fixture
def copies() -> Copies:
    return Copies()


def test_a_damaged_record_reads_again_wherever_it_lies(copies: Copies) -> None:
    edges = copies.edges()
    assert len(edges) == 5
    for record in edges:
        for at in (0, 4, 10, 70):
            copies.damage(record, at)
            with pytest.raises(DamagedRecord):
                copies.log.read(record.lsn)
            copies.log.repair(record.lsn, copies.raw(record))
            assert copies.log.read(record.lsn) == record
    assert records_of(copies.log) == copies.records
    copies.disk.crash()
    assert verify(copies.disk, DIRECTORY).ok
    assert records_of(open_log(copies.disk)) == copies.records


def test_neighbours_that_are_all_damaged_are_repaired_one_after_the_other(copies: Copies) -> None:
    """In any order: a lost sector takes many small records at once."""
    for order in range(4):
        hole = copies.records[30:37]
        copies.damage(hole[0], at=40, nbytes=6 * RECORD_BYTES)
        Random(order).shuffle(hole)
        for record in hole:
            copies.log.repair(record.lsn, copies.raw(record))
        assert records_of(copies.log) == copies.records


def test_a_lost_sidecar_does_not_hinder_a_repair(copies: Copies) -> None:
    """Without it the way to the record leads over the damaged ones before it."""
    start = copies.log.segments()[1].start
    first, *_, late = [r for r in copies.records if start.lsn <= r.lsn][:15]
    copies.disk.unlink(f"{DIRECTORY}/{start.lsn:020d}.idx")
    for record in (first, late):
        copies.damage(record)
    for record in (late, first):
        copies.log.repair(record.lsn, copies.raw(record))
    assert records_of(copies.log) == copies.records


def test_a_sound_record_is_only_compared(copies: Copies) -> None:
    record = copies.records[40]
    copies.disk.calls.clear()
    copies.log.repair(record.lsn, copies.raw(record))
    assert "pwrite" not in copies.disk.calls
    point = copies.log.point(record.lsn)
    other = b"".join(encode_group([draft(999)], point, 0)[0])
    with pytest.raises(BadCopy, match="is sound, and is another"):
        copies.log.repair(record.lsn, other)
    assert records_of(copies.log) == copies.records


def wrong_copies(copies: Copies, record: Record) -> list[bytes]:
    raw = copies.raw(record)
    point = copies.whole.point(record.lsn)
    return [
        b"",
        raw[:-1],
        raw + b"\0",
        raw[:70] + b"\xff" + raw[71:],
        copies.raw(copies.records[0]),
        raw + b"".join(encode_group([draft(1)], record.end, 0)[0]),
        # Longer than what is missing; it would take the next record's first byte.
        b"".join(encode_group([draft(40, 21)], point, 0)[0]),
        # As long, but it does not lead from the record before to the next one.
        b"".join(encode_group([draft(record.offsets + 1)], point, 0)[0]),
        b"".join(encode_group([draft(40)], copies.whole.point(record.next_lsn), 0)[0]),
    ]


def test_bytes_that_are_not_the_missing_record_are_refused(copies: Copies) -> None:
    for record in copies.edges()[1:]:
        copies.damage(record)
        copies.disk.calls.clear()
        for raw in wrong_copies(copies, record):
            with pytest.raises(BadCopy):
                copies.log.repair(record.lsn, raw)
        assert "pwrite" not in copies.disk.calls
        copies.log.repair(record.lsn, copies.raw(record))
    assert records_of(copies.log) == copies.records


def test_a_copy_of_another_epoch_does_not_get_between(copies: Copies) -> None:
    """One that would follow a newer epoch, or lead to an older one, was written by another leader."""
    record = copies.records[40]
    before, after = copies.records[39], copies.records[41]
    assert before.epoch > 0
    copies.damage(record)
    point = copies.log.point(record.lsn)
    for epoch in (before.epoch - 1, after.epoch + 1):
        other = replace(draft(record.offsets + 3 * 40), epoch=epoch)
        raw = b"".join(encode_group([other], point, 0)[0])
        assert len(raw) == record.nbytes
        with pytest.raises(BadCopy, match="would follow one of"):
            copies.log.repair(record.lsn, raw)


def test_a_log_remembers_the_last_damage_that_was_met(copies: Copies) -> None:
    """Whoever met it, and however, until somebody has seen to it."""
    log, record = copies.log, copies.records[40]
    copies.damage(record)
    for meet in (
        lambda: log.read(record.lsn),
        lambda: log.raw(record.lsn, 1),
        lambda: list(log.scan()),
        lambda: log.at_offset(record.offset),
    ):
        with pytest.raises(DamagedRecord):
            meet()
        assert log.damage is not None
        assert log.damage.lsn == record.lsn
        log.forget_damage()
    assert log.repair(record.lsn, copies.raw(record)) is True
    assert log.repair(record.lsn, copies.raw(record)) is False
    assert records_of(log) == copies.records


def test_what_lies_around_damage_can_be_known(copies: Copies) -> None:
    """The epoch of the record before it, and the sound ones behind it in its segment."""
    log = copies.log
    second = log.segments()[1]
    inside = [r for r in copies.records if second.start.lsn <= r.lsn < second.end.lsn]
    for record in (inside[4], inside[5]):
        copies.damage(record)
    assert log.epoch_before(inside[4].lsn) == inside[3].epoch
    assert list(log.sound_behind(inside[4].lsn)) == inside[6:]
    with pytest.raises(DamagedRecord):
        log.epoch_before(inside[5].lsn)
    assert log.epoch_before(0) == 0
    with pytest.raises(OutOfRange):
        log.epoch_before(log.end_lsn + 1)
    with pytest.raises(OutOfRange):
        list(log.sound_behind(log.end_lsn + 4096))


def test_nothing_is_written_into_the_middle_of_a_record(copies: Copies) -> None:
    record = copies.records[40]
    inside = copies.whole.point(record.lsn)
    shifted = type(inside)(inside.lsn + 10, inside.offset, inside.position, inside.ts_ms)
    raw = b"".join(encode_group([draft(1, 0)], shifted, 0)[0])
    with pytest.raises(BadCopy, match=rf"the record at lsn {record.lsn} is sound"):
        copies.log.repair(shifted.lsn, raw)
    assert records_of(copies.log) == copies.records


def test_outside_the_log_there_is_nothing_to_repair(copies: Copies) -> None:
    copies.log.drop_before(copies.log.segments()[1].start.lsn)
    point = copies.log.point(copies.log.end_lsn)
    beyond = b"".join(encode_group([draft(1)], point, 0)[0])
    for lsn, raw in ((0, copies.raw(copies.records[0])), (point.lsn, beyond)):
        with pytest.raises(OutOfRange):
            copies.log.repair(lsn, raw)


def test_a_segment_that_is_dropped_meanwhile_needs_no_repair(copies: Copies) -> None:
    """The log goes on: that was no failure of the disk."""
    record = copies.records[0]
    copies.damage(record)
    copies.disk.unlink(f"{DIRECTORY}/{copies.segment_of(record):020d}.log")
    with pytest.raises(OutOfRange, match="dropped"):
        copies.log.repair(record.lsn, copies.raw(record))
    assert copies.log.failed is None


def test_a_log_that_is_whole_and_not_open_for_writing_is_not_touched(copies: Copies) -> None:
    copies.log.close()
    raw = copies.raw(copies.records[0])
    for log in (copies.log, open_log(copies.disk, writable=False)):
        with pytest.raises(LogClosed):
            log.repair(0, raw)


def test_a_log_too_damaged_to_be_opened_for_writing_is_repaired_place_by_place(
    copies: Copies,
) -> None:
    """Most logs have one segment, the last: its damage shows when the node starts."""
    last = [r for r in copies.records if r.lsn >= copies.log.segments()[-1].start.lsn]
    damaged = [last[0], last[3], last[4]]
    for record in damaged:
        copies.damage(record)
    copies.log.close()
    repaired = []
    while True:
        with suppress(LogDamaged):
            log = open_log(copies.disk)
            break
        reader = open_log(copies.disk, writable=False)
        lsn = reader.end_lsn
        reader.repair(lsn, copies.whole.raw(lsn, 1))
        reader.close()
        with pytest.raises(LogClosed):
            reader.repair(lsn, copies.whole.raw(lsn, 1))
        repaired.append(lsn)
    assert repaired == [record.lsn for record in damaged]
    assert records_of(log) == copies.records


@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_repair_that_fails_at_any_call_can_be_done_again(code: int, power_cut: bool) -> None:
    """After a failed write or sync the log is done; the record is damaged, or right."""
    failures = 0
    for n in range(1, 40):
        copies = Copies()
        record = copies.records[30]
        copies.damage(record)
        copies.disk.fail_at(n, code)
        try:
            copies.log.repair(record.lsn, copies.raw(record))
        except LogFailed:
            failures += 1
            with pytest.raises(LogFailed):
                copies.log.append([draft(1)])
            if power_cut:
                copies.disk.crash(Random(n))
            log = open_log(copies.disk)
            log.repair(record.lsn, copies.raw(record))
            assert records_of(log) == copies.records
        if copies.disk.armed:
            assert failures >= 3
            return
    raise AssertionError("repairing never ends")

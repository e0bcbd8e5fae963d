"""Small logs damaged in every possible place: never wrong bytes, never a silent loss (I14)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronosdb.wal import DamagedRecord, LogDamaged, Record, WalError, WrongLog, verify
from chronosdb.wal.codec import encode_group
from chronosdb.wal.segment import SegmentHeader
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, LOG_ID, draft, drafts, grow, open_log, records_of

PATH = f"{DIRECTORY}/{0:020d}.log"


def crashed(groups: int, unsynced: int) -> tuple[MemoryDisk, list[Record], list[Record]]:
    """A log of one segment with everything on disk, and of its last group only the bytes."""
    disk = MemoryDisk()
    log = open_log(disk)
    synced = grow(log, groups)
    log.reserve(sum(d.nbytes for d in drafts(50, unsynced)))
    last = log.append(drafts(50, unsynced)) if unsynced else []
    log.sync()
    disk.crash()
    return disk, synced, last


def test_a_last_group_cut_at_any_byte_leaves_a_prefix_of_it() -> None:
    disk, synced, last = crashed(groups=2, unsynced=3)
    end = last[-1].next_lsn
    for cut in range(last[0].lsn, end + 1):
        torn = disk.copy()
        torn.resize(PATH, 64 + cut)
        log = open_log(torn)
        whole = [record for record in last if record.next_lsn <= cut]
        assert records_of(log) == synced + whole
        assert log.recovery.torn_bytes <= cut - log.end_lsn
        assert log.append([draft(99)])[0].offset == log.next_offset - draft(99).offsets


def test_a_last_group_whose_bytes_are_zero_from_any_byte_leaves_a_prefix_of_it() -> None:
    """The size reached the disk, and only part of the bytes did."""
    disk, synced, last = crashed(groups=2, unsynced=3)
    end = last[-1].next_lsn
    for cut in range(last[0].lsn, end):
        torn = disk.copy()
        torn.damage(PATH, 64 + cut, bytes(end - cut))
        log = open_log(torn)
        assert records_of(log) == synced + [r for r in last if r.next_lsn <= cut]


def test_a_last_group_that_lost_any_byte_in_its_middle_leaves_a_prefix_of_it() -> None:
    disk, synced, last = crashed(groups=2, unsynced=3)
    for at in range(last[0].lsn, last[-1].next_lsn):
        torn = disk.copy()
        torn.damage(PATH, 64 + at, _flipped(torn, 64 + at))
        log = open_log(torn)
        assert records_of(log) == synced + [r for r in last if r.next_lsn <= at]
        assert log.recovery.torn_bytes > 0


def test_a_byte_that_is_wrong_anywhere_in_a_closed_log_is_reported() -> None:
    """Each byte of a cleanly closed log: opening it for writing refuses, and verify finds it."""
    disk = MemoryDisk()
    log = open_log(disk)
    grow(log, groups=3)
    log.close()
    before = disk.read_file(PATH)
    for at in range(len(before)):
        bad = disk.copy()
        bad.damage(PATH, at, _flipped(bad, at))
        with pytest.raises((LogDamaged, WrongLog)):
            open_log(bad)
        assert not verify(bad, DIRECTORY).ok
        bad.damage(PATH, at, before[at : at + 1])
        assert bad.read_file(PATH) == before, "an attempt to open a damaged log changed it"


def test_a_byte_that_is_wrong_in_a_sealed_segment_is_found_when_it_is_read() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=12)
    log.close()
    size = disk.size(PATH)
    for at in range(64, size, 3):
        bad = disk.copy()
        bad.damage(PATH, at, _flipped(bad, at))
        again = open_log(bad)
        right: list[Record] = []
        with pytest.raises(DamagedRecord) as caught:
            right.extend(again.scan())
        assert right == records[: len(right)]
        assert caught.value.lsn == records[len(right)].lsn
        assert records[len(right)].lsn <= at - 64 < records[len(right)].next_lsn


def test_lookups_in_a_damaged_sealed_segment_give_the_right_record_or_an_error() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=12)
    log.close()
    for at in range(64, disk.size(PATH), 11):
        bad = disk.copy()
        bad.damage(PATH, at, _flipped(bad, at))
        again = open_log(bad)
        for record in records[::3]:
            try:
                if record.offsets:
                    assert again.at_offset(record.offset).lsn == record.lsn
                assert again.at_time(record.ts_ms).lsn == record.lsn
                assert again.read(record.lsn) == record
            except DamagedRecord:
                continue


def test_a_sealed_segment_that_is_short_or_gone_or_too_long_is_reported() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    grow(log, groups=20)
    log.close()
    names = [name for name in disk.listdir(DIRECTORY) if name.endswith(".log")]
    assert len(names) >= 3
    middle = f"{DIRECTORY}/{names[1]}"

    short = disk.copy()
    short.resize(middle, short.size(middle) - 1)
    with pytest.raises(LogDamaged, match="but the next segment begins at"):
        open_log(short)

    gone = disk.copy()
    gone.unlink(middle)
    with pytest.raises(LogDamaged, match="the segment of this index is missing"):
        open_log(gone)
    gone.unlink(middle.replace(".log", ".idx"))
    with pytest.raises(LogDamaged, match="but the next segment begins at"):
        open_log(gone)

    longer = disk.copy()
    longer.resize(middle, longer.size(middle) + 10)
    open_log(longer, writable=False)
    longer.damage(middle, longer.size(middle) - 1, b"x")
    with pytest.raises(LogDamaged, match="has bytes up to lsn"):
        open_log(longer)


def test_whole_records_that_do_not_continue_each_other_are_found_when_they_are_read() -> None:
    """Bytes of an older or another log in the right place: only their numbers give them away."""
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=20)
    log.close()
    stale = encode_group([draft(1)], replace(records[3].end, offset=999), 0)[0]
    disk.damage(PATH, 64 + records[4].lsn, b"".join(stale))
    scan = open_log(disk).scan()
    assert [next(scan) for _ in range(4)] == records[:4]
    with pytest.raises(DamagedRecord, match="its offset is 999"):
        next(scan)


def test_segments_that_do_not_continue_each_other_are_found_when_they_are_read() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=20)
    log.close()
    second = f"{DIRECTORY}/{disk.listdir(DIRECTORY)[3]}"
    header = SegmentHeader.decode(disk.read_file(second))
    wrong = SegmentHeader(LOG_ID, replace(header.start, position=header.start.position + 1))
    disk.damage(second, 0, wrong.encode())
    scan = open_log(disk).scan()
    before = [record for record in records if record.lsn < header.start.lsn]
    assert [next(scan) for _ in before] == before
    with pytest.raises(DamagedRecord, match="does not continue the one before it"):
        next(scan)


def test_a_log_whose_segments_are_all_gone_is_not_taken_for_a_new_one() -> None:
    disk = MemoryDisk()
    disk.mkdir(DIRECTORY)
    with pytest.raises(LogDamaged, match="durable up to lsn 84, but is gone"):
        open_log(disk, durable_lsn=84)
    assert disk.listdir(DIRECTORY) == []
    grow(log := open_log(disk), groups=1)
    log.close()
    disk.unlink(PATH)
    with pytest.raises(WalError, match="the segment of this index is missing"):
        open_log(disk)


def _flipped(disk: MemoryDisk, at: int) -> bytes:
    return bytes([disk.read_file(PATH)[at] ^ 0x10])

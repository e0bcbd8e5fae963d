"""A log of many segments and many restarts."""

from __future__ import annotations

import pytest

from chronosdb.wal import Log, Record
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, SMALL, drafts, grow, open_log, records_of


def segment_names(disk: MemoryDisk) -> list[str]:
    return [name for name in disk.listdir(DIRECTORY) if name.endswith(".log")]


def find_all(log: Log, records: list[Record]) -> None:
    for record in records:
        if record.offsets:
            assert log.at_offset(record.offset).lsn == record.lsn
        if record.positions:
            assert log.at_position(record.position).lsn == record.lsn
        assert log.at_time(record.ts_ms).ts_ms == record.ts_ms


def test_segments_follow_each_other_without_a_gap_and_stay_within_their_size() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    grow(log, groups=40)
    log.close()
    bases = [int(name[:20]) for name in segment_names(disk)]
    sizes = [disk.size(f"{DIRECTORY}/{name}") for name in segment_names(disk)]
    assert len(bases) > 5
    assert bases[0] == 0
    assert [base + size - 64 for base, size in zip(bases, sizes, strict=True)] == [
        *bases[1:],
        log.end_lsn,
    ]
    assert max(sizes) <= SMALL.segment_bytes


def test_a_group_never_spans_two_segments() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    group = grow(log, groups=1, per_group=20)
    assert segment_names(disk) == [f"{0:020d}.log"]
    other = grow(log, groups=1, per_group=20)
    assert [int(name[:20]) for name in segment_names(disk)] == [0, other[0].lsn]
    assert other[0].lsn == group[-1].next_lsn


def test_a_group_may_fill_a_segment_to_its_last_byte() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    per_record = (SMALL.group_bytes_max - 4 * 64) // 4
    grow(log, groups=1, per_group=4, size=per_record)
    grow(log, groups=1, per_group=4, size=per_record)
    log.close()
    sizes = [disk.size(f"{DIRECTORY}/{name}") for name in segment_names(disk)]
    assert sizes == [SMALL.segment_bytes] * 2


def test_append_rolls_by_itself_when_nothing_was_reserved() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = [record for _ in range(3) for record in log.append(drafts(0, 20))]
    assert len(segment_names(disk)) == 3
    assert records_of(log) == records


def test_a_new_segment_exists_only_when_all_before_it_is_durable() -> None:
    """Rolling syncs the old segment: its unsynced records survive a power cut."""
    disk = MemoryDisk()
    log = open_log(disk)
    unsynced = log.append(drafts(0, 20))
    assert log.synced_lsn == 0
    log.reserve(sum(d.nbytes for d in drafts(0, 20)))
    assert log.synced_lsn == unsynced[-1].next_lsn
    disk.crash()
    assert len(segment_names(disk)) == 2
    assert records_of(open_log(disk)) == unsynced


def test_fifty_restarts_with_rotations_keep_everything_dense() -> None:
    """Clean stops, kills and power cuts in turn; no offset is used twice and none is skipped."""
    disk = MemoryDisk()
    expected: list[Record] = []
    for restart in range(50):
        log = open_log(disk)
        assert (log.next_offset, log.next_position) == _counters(expected)
        expected += grow(log, groups=restart % 5, size=20 + restart)
        if restart % 3 == 0:
            log.close()
        elif restart % 3 == 1:
            disk.crash()
    log = open_log(disk)
    assert records_of(log) == expected
    assert len(segment_names(disk)) > 10
    find_all(log, expected)


def _counters(records: list[Record]) -> tuple[int, int]:
    return (records[-1].end.offset, records[-1].end.position) if records else (0, 0)


def test_an_empty_last_segment_still_knows_the_next_offset() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=1, per_group=20)
    log.reserve(SMALL.group_bytes_max)
    disk.crash()
    again = open_log(disk)
    assert len(segment_names(disk)) == 2
    assert (again.next_offset, again.next_position) == _counters(records)
    assert again.last_ts_ms == records[-1].ts_ms
    assert records_of(again) == records
    find_all(again, records)


@pytest.mark.parametrize("restart", [False, True])
def test_lookups_work_when_sidecars_are_lost_and_damaged(restart: bool) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=40)
    if restart:
        log.close()
    sidecars = [name for name in disk.listdir(DIRECTORY) if name.endswith(".idx")]
    assert len(sidecars) >= 5
    before = {name: disk.read_file(f"{DIRECTORY}/{name}") for name in sidecars}
    for i, name in enumerate(sidecars):
        path = f"{DIRECTORY}/{name}"
        if i % 2:
            disk.unlink(path)
        else:
            disk.damage(path, disk.size(path) // 2, b"\xaa\xaa\xaa")
    again = open_log(disk) if restart else log
    find_all(again, records)
    again.close()
    for name in sidecars:
        assert disk.read_file(f"{DIRECTORY}/{name}") == before[name], "mended for the next start"


def test_a_sidecar_that_covers_less_than_its_segment_is_not_used() -> None:
    """The note of a clean close is outdated once the segment went on growing."""
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=2)
    log.close()
    stale = disk.read_file(f"{DIRECTORY}/{0:020d}.idx")
    log = open_log(disk)
    records += grow(log, groups=30)
    log.close()
    whole = disk.read_file(f"{DIRECTORY}/{0:020d}.idx")
    disk.write_file_atomic(f"{DIRECTORY}/{0:020d}.idx", stale)
    again = open_log(disk)
    find_all(again, records)
    again.close()
    assert disk.read_file(f"{DIRECTORY}/{0:020d}.idx") == whole


def test_a_read_only_log_mends_nothing() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=40)
    log.close()
    disk.unlink(f"{DIRECTORY}/{0:020d}.idx")
    reader = open_log(disk, writable=False)
    find_all(reader, records)
    reader.close()
    assert not disk.exists(f"{DIRECTORY}/{0:020d}.idx")


def test_a_file_that_a_crash_left_half_made_is_removed() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    log.close()
    disk.write_file_atomic(f"{DIRECTORY}/{84:020d}.log.tmp", b"half")
    open_log(disk)
    assert not disk.exists(f"{DIRECTORY}/{84:020d}.log.tmp")


def test_few_files_stay_open_however_many_segments_are_read() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=40)
    disk.calls.clear()
    for record in records:
        log.read(record.lsn)
    opened = disk.calls.count("open")
    assert opened == len(segment_names(disk))
    for _ in range(10):
        log.read(records[-1].lsn)
    assert disk.calls.count("open") == opened

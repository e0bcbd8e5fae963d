"""Reserving space: a full disk is told before anything is written, and harms nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronosdb.wal import DiskFull, Log, LogOptions, Record
from chronosdb.wal.segment_writer import allocation
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, SMALL, draft, drafts, grow, open_log, records_of

PATH = f"{DIRECTORY}/{0:020d}.log"


def fill(log: Log, *, emergency: bool = False) -> list[Record]:
    """Appends and syncs until the disk is full."""
    records: list[Record] = []
    while True:
        try:
            log.reserve(3 * 84, emergency=emergency)
        except DiskFull:
            return records
        records += log.append(drafts(1, 3))
        log.sync()


@pytest.mark.parametrize(
    ("need", "step", "limit", "spendable", "expected"),
    [
        (10, 100, 1000, 1000, 100),
        (200, 100, 1000, 1000, 200),
        (10, 100, 50, 1000, 50),
        (10, 100, 1000, 100, 100),
        (10, 100, 1000, 99, 10),
        (10, 100, 1000, 10, 10),
        (10, 100, 1000, 9, None),
        (10, 100, 1000, -5, None),
    ],
)
def test_a_whole_step_or_just_enough_or_disk_full(
    need: int, step: int, limit: int, spendable: int, expected: int | None
) -> None:
    if expected is None:
        with pytest.raises(DiskFull, match="10 bytes needed"):
            allocation(need, step, limit, spendable)
    else:
        assert allocation(need, step, limit, spendable) == expected


def test_space_is_allocated_in_doubling_steps_and_never_past_the_segment() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    sizes = []
    for _ in range(23):
        log.reserve(84)
        log.append([draft(1)])
        sizes.append(disk.size(PATH))
    assert sorted(set(sizes)) == [64 + 256, 64 + 256 + 512, 64 + 256 + 512 + 1024, 2048]


def test_a_reservation_inside_allocated_space_asks_nothing_of_the_disk() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    log.reserve(200)
    disk.calls.clear()
    log.reserve(100)
    assert disk.calls == []


def test_what_was_reserved_can_be_written_on_a_disk_that_is_full_by_then() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    log.reserve(1500)
    disk.capacity = disk.used_bytes
    records = log.append(drafts(0, 17))
    log.sync()
    disk.crash()
    assert records_of(open_log(disk)) == records


def test_a_full_disk_leaves_the_log_working() -> None:
    disk = MemoryDisk(capacity=SMALL.disk_reserve_bytes + 1000)
    log = open_log(disk)
    records = fill(log)
    assert records
    with pytest.raises(DiskFull, match="free some"):
        log.reserve(3 * 84)
    assert log.failed is None
    assert records_of(log) == records
    disk.capacity += 100_000
    records += grow(log, groups=30)
    disk.crash()
    assert records_of(open_log(disk)) == records


def test_an_emergency_may_use_what_others_must_leave() -> None:
    disk = MemoryDisk(capacity=SMALL.disk_reserve_bytes + 1000)
    log = open_log(disk)
    records = fill(log)
    assert disk.free_bytes(DIRECTORY) >= SMALL.disk_reserve_bytes
    more = fill(log, emergency=True)
    assert 84 * len(more) > SMALL.disk_reserve_bytes // 2
    assert log.failed is None
    disk.crash()
    assert records_of(open_log(disk)) == records + more


def test_not_even_an_emergency_takes_the_floor() -> None:
    """What is below it others may write; a copy of another log stops there as well."""
    options = replace(SMALL, disk_floor_bytes=1500)
    disk = MemoryDisk(capacity=SMALL.disk_reserve_bytes + 1000)
    log = open_log(disk, options)
    records = fill(log)
    records += fill(log, emergency=True)
    assert disk.free_bytes(DIRECTORY) >= options.disk_floor_bytes
    assert log.failed is None
    disk.crash()
    assert records_of(open_log(disk, options)) == records


def test_a_full_disk_at_any_size_never_harms_the_log() -> None:
    """Whatever runs out first, the segment, its sidecar or the next one: nothing is lost."""
    options = LogOptions(
        segment_bytes=700,
        max_record_bytes=100,
        disk_reserve_bytes=0,
        allocate_min_bytes=64,
        allocate_max_bytes=64,
        index_interval_bytes=64,
    )
    for capacity in range(70, 3000, 13):
        disk = MemoryDisk(capacity)
        log = open_log(disk, options)
        records = fill(log)
        assert log.failed is None
        disk.capacity += 5000
        log.reserve(84)
        records += log.append([draft(1)])
        log.sync()
        disk.crash()
        assert records_of(open_log(disk, options)) == records


def test_closing_on_a_full_disk_keeps_the_log() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=3)
    disk.capacity = 0
    log.close()
    disk.crash()
    assert records_of(open_log(disk)) == records


def test_a_full_disk_cannot_take_a_new_log() -> None:
    disk = MemoryDisk(capacity=10)
    with pytest.raises(DiskFull):
        open_log(disk)
    disk.capacity = 1000
    open_log(disk)


def test_no_segment_is_begun_in_space_that_must_be_left_free() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    grow(log, groups=1, per_group=20)
    disk.capacity = disk.used_bytes + SMALL.disk_reserve_bytes
    before = disk.listdir(DIRECTORY)
    with pytest.raises(DiskFull, match="in a new segment"):
        log.reserve(SMALL.group_bytes_max)
    assert disk.listdir(DIRECTORY) == before
    log.reserve(SMALL.group_bytes_max, emergency=True)
    assert disk.listdir(DIRECTORY) != before

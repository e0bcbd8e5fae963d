from __future__ import annotations

from bisect import bisect_left

import pytest

from chronosdb.wal import (
    Draft,
    Log,
    LogClosed,
    LogMissing,
    LogOptions,
    OutOfRange,
    TooLarge,
    WrongLog,
)
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, LOG_ID, SMALL, draft, drafts, grow, open_log, records_of


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


def test_a_new_log_is_empty(disk: MemoryDisk) -> None:
    log = open_log(disk)
    assert (log.start_lsn, log.end_lsn, log.synced_lsn) == (0, 0, 0)
    assert (log.next_offset, log.next_position, log.last_ts_ms) == (0, 0, 0)
    assert records_of(log) == []
    assert log.failed is None


def test_appended_records_carry_their_place_and_continue_each_other(disk: MemoryDisk) -> None:
    log = open_log(disk)
    records = log.append(drafts(1, 3))
    assert [r.lsn for r in records] == [0, 84, 168]
    assert [r.offset for r in records] == [0, 1, 3]
    assert [r.position for r in records] == [0, 0, 1]
    assert (log.end_lsn, log.next_offset, log.next_position) == (252, 3, 1)
    assert log.last_ts_ms == 3000
    assert records_of(log) == records


def test_only_sync_makes_records_durable(disk: MemoryDisk) -> None:
    log = open_log(disk)
    log.append(drafts(1, 3))
    assert log.synced_lsn == 0
    log.sync()
    assert log.synced_lsn == log.end_lsn == 252
    log.append(drafts(4, 1))
    assert log.synced_lsn == 252
    disk.crash()
    assert open_log(disk).end_lsn == 252


def test_sync_with_nothing_new_does_not_touch_the_disk(disk: MemoryDisk) -> None:
    log = open_log(disk)
    grow(log, groups=1)
    disk.calls.clear()
    log.sync()
    assert disk.calls == []


def test_a_group_is_one_write(disk: MemoryDisk) -> None:
    log = open_log(disk)
    log.reserve(1000)
    disk.calls.clear()
    log.append(drafts(0, 10))
    assert disk.calls == ["pwrite"]


def test_a_record_testifies_how_far_the_log_was_durable(disk: MemoryDisk) -> None:
    log = open_log(disk)
    unsynced = log.append(drafts(0, 2)) + log.append(drafts(2, 2))
    log.sync()
    synced = log.append(drafts(4, 2))
    assert [r.synced_lsn for r in unsynced] == [0, 0, 0, 0]
    assert [r.synced_lsn for r in synced] == [336, 336]


def test_log_time_never_goes_back(disk: MemoryDisk) -> None:
    log = open_log(disk)
    records = log.append([Draft(1, ts, [b""]) for ts in (500, 300, 700)])
    assert [r.ts_ms for r in records] == [500, 500, 700]
    log.close()
    assert open_log(disk).append([Draft(1, 100, [b""])])[0].ts_ms == 700


def test_an_empty_group_changes_nothing(disk: MemoryDisk) -> None:
    log = open_log(disk)
    assert log.append([]) == []
    assert log.end_lsn == 0


def test_read_gives_the_record_at_an_lsn(disk: MemoryDisk) -> None:
    log = open_log(disk)
    for record in grow(log, groups=20):
        assert log.read(record.lsn) == record


def test_a_record_larger_than_every_buffer_reads_back(disk: MemoryDisk) -> None:
    log = open_log(disk, LogOptions())
    payload = bytes(range(256)) * 4096
    first, second = log.append([Draft(1, 0, [payload[:7], memoryview(payload)[7:]]), draft(1)])
    assert bytes(log.read(first.lsn).body) == payload
    assert records_of(log) == [first, second]


@pytest.mark.parametrize("lsn", [-1, 252, 10_000])
def test_read_outside_the_log_says_so(disk: MemoryDisk, lsn: int) -> None:
    log = open_log(disk)
    log.append(drafts(0, 3))
    with pytest.raises(OutOfRange, match="outside the log, 0 to 252"):
        log.read(lsn)


def test_scan_gives_any_range(disk: MemoryDisk) -> None:
    log = open_log(disk)
    records = grow(log, groups=20)
    for i in range(0, len(records), 7):
        for j in range(i, len(records), 5):
            assert list(log.scan(records[i].lsn, records[j].lsn)) == records[i:j]
    assert list(log.scan(records[30].lsn)) == records[30:]
    assert list(log.scan(stop_lsn=records[3].lsn)) == records[:3]


@pytest.mark.parametrize(("start", "stop"), [(-1, 10), (10, 5), (0, 10_000), (10_000, None)])
def test_scan_outside_the_log_says_so_at_once(
    disk: MemoryDisk, start: int, stop: int | None
) -> None:
    log = open_log(disk)
    log.append(drafts(0, 3))
    with pytest.raises(OutOfRange):
        log.scan(start, stop)


def test_a_scan_ends_where_the_log_ended_when_it_began(disk: MemoryDisk) -> None:
    log = open_log(disk)
    records = grow(log, groups=10)
    scan = log.scan()
    first = next(scan)
    grow(log, groups=10)
    assert [first, *scan] == records


def test_every_offset_and_position_leads_to_the_record_that_adds_it(disk: MemoryDisk) -> None:
    log = open_log(disk)
    records = grow(log, groups=40)
    assert len(disk.listdir(DIRECTORY)) > 5
    for record in records:
        for offset in range(record.offset, record.offset + record.offsets):
            assert log.at_offset(offset).lsn == record.lsn
        for position in range(record.position, record.position + record.positions):
            assert log.at_position(position).lsn == record.lsn


@pytest.mark.parametrize("outside", [-1, 10**6])
def test_an_offset_or_position_outside_the_log_says_so(disk: MemoryDisk, outside: int) -> None:
    log = open_log(disk)
    grow(log, groups=5)
    with pytest.raises(OutOfRange, match="offset"):
        log.at_offset(outside)
    with pytest.raises(OutOfRange, match="position"):
        log.at_position(outside)
    with pytest.raises(OutOfRange):
        log.at_offset(log.next_offset)
    with pytest.raises(OutOfRange):
        log.at_position(log.next_position)


def test_a_time_leads_to_the_first_record_not_before_it(disk: MemoryDisk) -> None:
    log = open_log(disk)
    for ts in (10, 10, 10, 20, 30, 30, 50):
        log.append([Draft(1, ts, [bytes(300)]) for _ in range(3)])
    records = records_of(log)
    times = [r.ts_ms for r in records]
    for ts in range(51):
        assert log.at_time(ts).lsn == records[bisect_left(times, ts)].lsn
    with pytest.raises(OutOfRange, match="at or after 51 ms"):
        log.at_time(51)


def test_an_empty_log_holds_no_offset_and_no_time(disk: MemoryDisk) -> None:
    log = open_log(disk)
    with pytest.raises(OutOfRange):
        log.at_offset(0)
    with pytest.raises(OutOfRange):
        log.at_time(0)


def test_limits_are_checked_before_anything_is_written(disk: MemoryDisk) -> None:
    log = open_log(disk)
    with pytest.raises(TooLarge, match="513 bytes exceeds max_record_bytes, 512"):
        log.append([draft(0), draft(1, size=513)])
    with pytest.raises(TooLarge, match="split it"):
        log.append(drafts(0, 30))
    with pytest.raises(TooLarge, match="split it"):
        log.reserve(SMALL.group_bytes_max + 1)
    assert log.end_lsn == 0
    assert log.failed is None
    log.append([draft(0, size=512)])


def test_a_number_that_does_not_fit_harms_nothing(disk: MemoryDisk) -> None:
    log = open_log(disk)
    with pytest.raises(ValueError, match="kind"):
        log.append([draft(0), Draft(0, 0, [b""])])
    assert log.end_lsn == 0


def test_everything_is_there_after_a_clean_close(disk: MemoryDisk) -> None:
    log = open_log(disk)
    records = grow(log, groups=7)
    log.append([draft(3)])
    records = records_of(log)
    log.close()
    disk.crash()
    again = open_log(disk)
    assert records_of(again) == records
    assert (again.next_offset, again.next_position) == (log.next_offset, log.next_position)
    assert again.recovery.torn_bytes == 0


def test_close_gives_allocated_space_back(disk: MemoryDisk) -> None:
    log = open_log(disk)
    log.reserve(100)
    log.append([draft(1)])
    path = f"{DIRECTORY}/{0:020d}.log"
    assert disk.size(path) > 64 + 84
    log.close()
    assert disk.size(path) == 64 + 84


def test_a_closed_log_refuses_everything(disk: MemoryDisk) -> None:
    log = open_log(disk)
    grow(log, groups=1)
    log.close()
    log.close()
    for call in (log.sync, lambda: log.append([draft(1)]), lambda: log.reserve(1)):
        with pytest.raises(LogClosed):
            call()
    with pytest.raises(LogClosed):
        log.read(0)


def test_a_read_only_log_reads_and_refuses_to_write(disk: MemoryDisk) -> None:
    log = open_log(disk)
    records = grow(log, groups=7)
    log.close()
    again = open_log(disk, writable=False)
    assert records_of(again) == records
    with pytest.raises(LogClosed, match="reading only"):
        again.append([draft(1)])
    again.close()


def test_a_read_only_log_claims_only_what_is_proven_durable(disk: MemoryDisk) -> None:
    """Beside a writer that has not synced yet, or after it was killed."""
    log = open_log(disk)
    grow(log, groups=2, per_group=1)
    log.append([draft(9)])
    reader = open_log(disk, writable=False)
    assert reader.end_lsn == log.end_lsn
    assert reader.synced_lsn == log.synced_lsn


def test_any_log_can_be_read_without_knowing_its_id(disk: MemoryDisk) -> None:
    log = open_log(disk)
    records = grow(log, groups=2)
    log.close()
    again = Log.open(disk, DIRECTORY, SMALL, log_id=None, writable=False)
    assert records_of(again) == records


def test_a_missing_log_is_not_made_for_reading(disk: MemoryDisk) -> None:
    with pytest.raises(LogMissing, match="there is no log in /data/log"):
        open_log(disk, writable=False)
    assert not disk.exists(DIRECTORY)


def test_the_log_of_another_cluster_is_refused_untouched(disk: MemoryDisk) -> None:
    grow(log := open_log(disk), groups=2)
    log.close()
    with pytest.raises(WrongLog, match=f"belongs to the log {LOG_ID.hex()}, not to {'ff' * 16}"):
        Log.open(disk, DIRECTORY, SMALL, log_id=b"\xff" * 16)
    open_log(disk)

"""A log that loses its oldest segments: what is left, who may still read what, and every crash in between."""

from __future__ import annotations

import errno
import threading
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import pytest

from chronosdb.wal import (
    DiskFull,
    Log,
    LogDamaged,
    LogFailed,
    OsDisk,
    OutOfRange,
    Record,
    UnreadableRecord,
    verify,
)
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, draft, grow, open_log, records_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def log(disk: MemoryDisk) -> Log:
    """Seven sealed segments, and one that is being written."""
    log = open_log(disk)
    grow(log, groups=50)
    assert len(log.segments()) == 8
    return log


def names(disk: MemoryDisk, suffix: str) -> list[int]:
    return [int(name[:20]) for name in disk.listdir(DIRECTORY) if name.endswith(suffix)]


def above(records: list[Record], lsn: int) -> list[Record]:
    return [record for record in records if record.lsn >= lsn]


def test_segments_meet_at_the_points_where_one_ends_and_the_next_begins(log: Log) -> None:
    segments = log.segments()
    records = records_of(log)
    assert segments[0].start.lsn == log.start_lsn == 0
    for segment, following in pairwise(segments):
        assert segment.end == following.start
        (last,) = [record for record in records if record.next_lsn == segment.end.lsn]
        assert segment.end == last.end
    assert segments[-1].end == records[-1].end
    assert sum(segment.nbytes for segment in segments) == log.end_lsn


def test_whole_segments_below_go_with_their_sidecars_and_the_others_stay(
    disk: MemoryDisk, log: Log
) -> None:
    before, records = log.segments(), records_of(log)
    log.drop_before(before[3].start.lsn)
    assert log.segments() == before[3:]
    assert log.start_lsn == before[3].start.lsn
    assert names(disk, ".log") == [segment.start.lsn for segment in before[3:]]
    assert names(disk, ".idx") == [segment.start.lsn for segment in before[3:-1]]
    assert names(disk, ".start") == [log.start_lsn]
    assert records_of(log) == above(records, log.start_lsn)
    assert records_of(open_log(disk)) == above(records, log.start_lsn)
    assert verify(disk, DIRECTORY).ok


def test_a_segment_of_which_a_part_lies_above_stays(log: Log) -> None:
    before = log.segments()
    log.drop_before(before[3].start.lsn - 1)
    assert log.segments() == before[2:]
    log.drop_before(before[2].start.lsn)
    log.drop_before(0)
    assert log.segments() == before[2:]


def test_the_last_segment_is_never_dropped(disk: MemoryDisk, log: Log) -> None:
    before = log.segments()
    log.drop_before(log.end_lsn + 10**6)
    assert log.segments() == before[-1:]
    more = grow(log, groups=20)
    assert records_of(log)[-len(more) :] == more
    assert records_of(open_log(disk)) == records_of(log)


def test_what_lies_below_is_out_of_range(disk: MemoryDisk, log: Log) -> None:
    records = records_of(log)
    log.drop_before(log.segments()[3].start.lsn)
    start = log.segments()[0].start
    assert 0 < start.offset < log.next_offset
    for reader in (log, open_log(disk), open_log(disk, writable=False)):
        with pytest.raises(OutOfRange, match=r"is outside the log, [1-9]"):
            reader.read(0)
        with pytest.raises(OutOfRange, match=r"is outside the log, [1-9]"):
            reader.scan(start.lsn - 84)
        with pytest.raises(OutOfRange, match=r"is outside the log, [1-9]"):
            reader.at_offset(start.offset - 1)
        with pytest.raises(OutOfRange, match=r"is outside the log, [1-9]"):
            reader.at_position(start.position - 1)
        oldest = above(records, start.lsn)[0]
        assert reader.at_time(0) == reader.read(start.lsn) == oldest
        assert reader.at_offset(start.offset).offset <= start.offset


def test_a_log_may_lose_its_oldest_again_and_again_and_keeps_one_mark(disk: MemoryDisk) -> None:
    log = open_log(disk)
    written: list[Record] = []
    for round_ in range(12):
        written += grow(log, groups=20)
        log.drop_before(log.segments()[len(log.segments()) // 2].start.lsn)
        if round_ % 3 == 0:
            log.close()
            log = open_log(disk)
        assert records_of(log) == above(written, log.start_lsn)
        assert names(disk, ".start") == [log.start_lsn]
        assert len(log.segments()) <= 8


def test_only_a_log_that_is_open_for_writing_can_drop(disk: MemoryDisk, log: Log) -> None:
    lsn = log.end_lsn
    log.close()
    before = disk.listdir(DIRECTORY)
    for reader in (log, open_log(disk, writable=False)):
        with pytest.raises(Exception, match="closed, or open for reading only"):
            reader.drop_before(lsn)
    assert disk.listdir(DIRECTORY) == before


# Readers whom a drop overtakes.


def test_a_scan_inside_a_dropped_segment_ends_with_out_of_range(log: Log) -> None:
    """The records it gave before are right; the open file of a dropped segment is not kept."""
    records = records_of(log)
    scan = log.scan()
    seen = [next(scan) for _ in range(3)]
    log.drop_before(log.segments()[3].start.lsn)
    with pytest.raises(OutOfRange, match="has just been dropped"):
        seen += scan
    assert seen == records[: len(seen)]


def test_a_file_that_vanished_by_itself_is_no_drop(disk: MemoryDisk, log: Log) -> None:
    disk.unlink(f"{DIRECTORY}/{log.segments()[1].start.lsn:020d}.log")
    with pytest.raises(UnreadableRecord, match="the disk cannot be read"):
        records_of(log)


def test_an_index_that_was_rebuilt_before_its_segment_was_dropped_is_not_stored(
    disk: MemoryDisk, log: Log
) -> None:
    """A reader built two indexes anew; the writer, when it stores them, has one of the segments left."""
    records = records_of(log)
    first, kept = log.segments()[0].start, log.segments()[3].start
    for start in (first, kept):
        disk.unlink(f"{DIRECTORY}/{start.lsn:020d}.idx")
        log.at_offset(start.offset)
    log.drop_before(kept.lsn)
    log.close()
    assert names(disk, ".idx") == names(disk, ".log")
    assert records_of(open_log(disk)) == above(records, kept.lsn)


def test_a_sidecar_that_a_crash_left_below_the_start_is_rubbish(disk: MemoryDisk, log: Log) -> None:
    records = records_of(log)
    sidecar = disk.read_file(f"{DIRECTORY}/{0:020d}.idx")
    log.drop_before(log.segments()[3].start.lsn)
    disk.write_file_atomic(f"{DIRECTORY}/{0:020d}.idx", sidecar)
    report = verify(disk, DIRECTORY)
    assert report.ok
    assert "left over; the next start removes it" in str(report)
    assert records_of(open_log(disk)) == above(records, log.start_lsn)
    assert 0 not in names(disk, ".idx")


def read_until(
    log: Log, written: dict[int, Record], done: threading.Event, errors: list[BaseException]
) -> None:
    while not done.is_set():
        try:
            for record in log.scan(stop_lsn=log.synced_lsn):
                assert written[record.lsn] == record
                if record.offsets:
                    assert log.at_offset(record.offset) == record
        except OutOfRange:
            continue
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)
            return


@pytest.mark.slow
def test_two_readers_beside_a_writer_that_drops_all_the_time(tmp_path: Path) -> None:
    """Whatever they get is right; all else is OutOfRange."""
    log = open_log(OsDisk(), directory=str(tmp_path))
    written: dict[int, Record] = {}
    done, errors = threading.Event(), list[BaseException]()
    readers = [
        threading.Thread(target=read_until, args=(log, written, done, errors)) for _ in range(2)
    ]
    for reader in readers:
        reader.start()
    for n in range(500):
        log.reserve(3 * 84)
        group = log.append([draft(3 * n + i) for i in range(3)])
        written.update((record.lsn, record) for record in group)
        log.sync()
        if n % 5 == 0:
            log.drop_before(log.end_lsn - 3000)
    done.set()
    for reader in readers:
        reader.join()
    assert not errors, errors[0]
    assert records_of(log) == above(list(written.values()), log.start_lsn)
    log.close()


# Trouble in between.


def drop_three(log: Log) -> None:
    log.drop_before(log.segments()[3].start.lsn)


def test_a_full_disk_refuses_the_mark_and_nothing_has_changed(disk: MemoryDisk, log: Log) -> None:
    before, listing = log.segments(), disk.listdir(DIRECTORY)
    disk.fail_at(1, errno.ENOSPC)
    with pytest.raises(DiskFull, match="note where the log begins"):
        drop_three(log)
    assert (log.segments(), disk.listdir(DIRECTORY)) == (before, listing)
    drop_three(log)
    assert log.segments() == before[3:]


@pytest.mark.parametrize("power_cut", [False, True])
def test_an_error_at_any_call_ends_the_log_and_leaves_a_whole_one(power_cut: bool) -> None:
    """Nothing above the mark is lost, whether the process dies or the power goes with it."""
    for n in range(1, 100):
        disk = MemoryDisk()
        log = open_log(disk)
        written = grow(log, groups=50)
        kept = log.segments()[3].start.lsn
        disk.fail_at(n)
        try:
            drop_three(log)
        except LogFailed:
            with pytest.raises(LogFailed):
                log.append([draft(1)])
            if power_cut:
                disk.crash()
            again = open_log(disk)
            assert again.start_lsn in {0, kept}
            assert records_of(again) == above(written, again.start_lsn)
        else:
            assert n > 8
            return
    raise AssertionError("dropping never ends")


def test_after_a_power_cut_any_of_the_removed_files_may_be_back(disk: MemoryDisk, log: Log) -> None:
    """In any combination, as a file system that reorders would leave them."""
    written = records_of(log)
    before = {name: disk.read_file(f"{DIRECTORY}/{name}") for name in disk.listdir(DIRECTORY)}
    drop_three(log)
    log.close()
    removed = sorted(before.keys() - set(disk.listdir(DIRECTORY)))
    assert len(removed) == 6
    for count in range(len(removed) + 1):
        for returned in combinations(removed, count):
            state = disk.copy()
            for name in returned:
                state.write_file_atomic(f"{DIRECTORY}/{name}", before[name])
            assert verify(state, DIRECTORY).ok
            again = open_log(state)
            assert records_of(again) == above(written, log.start_lsn)
            assert not set(state.listdir(DIRECTORY)) & set(removed)


def test_a_mark_that_only_the_cache_holds_is_made_durable_before_anything_is_removed(
    disk: MemoryDisk, log: Log
) -> None:
    """A process dies between marking and syncing; its successor loses power while it cleans up."""
    written = records_of(log)
    disk.fail_at(2)
    with pytest.raises(LogFailed):
        drop_three(log)
    assert names(disk, ".start") != []
    for n in range(1, 100):
        state = disk.copy()
        state.open(f"{DIRECTORY}/{names(disk, '.start')[0]:020d}.start", create=True)
        state.cut_power_at(n)
        try:
            open_log(state)
        except (LogFailed, OSError):
            state.crash()
            again = open_log(state)
            assert records_of(again) == above(written, again.start_lsn)
        else:
            assert n > 10
            return
    raise AssertionError("opening never ends")


def test_a_log_that_lost_its_first_segment_by_accident_is_damaged(
    disk: MemoryDisk, log: Log
) -> None:
    """The mark says where the log begins: a later beginning is a loss, whoever dropped before."""
    drop_three(log)
    log.close()
    first = log.start_lsn
    for suffix in ("log", "idx"):
        disk.unlink(f"{DIRECTORY}/{first:020d}.{suffix}")
    why = "the log begins here, but its first segment is missing"
    with pytest.raises(LogDamaged, match=why):
        open_log(disk)
    assert why in str(verify(disk, DIRECTORY))


@pytest.mark.parametrize("what", ["the mark", "segment 0"])
def test_what_testifies_for_the_beginning_is_missed(disk: MemoryDisk, log: Log, what: str) -> None:
    if what == "the mark":
        drop_three(log)
        disk.unlink(f"{DIRECTORY}/{log.start_lsn:020d}.start")
    else:
        disk.unlink(f"{DIRECTORY}/{0:020d}.log")
        disk.unlink(f"{DIRECTORY}/{0:020d}.idx")
    with pytest.raises(LogDamaged, match=f"{0:020d}.log: the log begins here"):
        open_log(disk)


def test_a_log_of_which_only_the_mark_is_left_is_not_taken_for_a_new_one(
    disk: MemoryDisk, log: Log
) -> None:
    drop_three(log)
    log.close()
    for suffix in (".log", ".idx"):
        for lsn in names(disk, suffix):
            disk.unlink(f"{DIRECTORY}/{lsn:020d}{suffix}")
    with pytest.raises(LogDamaged, match="the log begins here"):
        open_log(disk)
    assert not verify(disk, DIRECTORY).ok

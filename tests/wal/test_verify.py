from __future__ import annotations

from dataclasses import replace

import pytest

from chronosdb.wal import LogMissing, Point, verify
from chronosdb.wal.codec import encode_group
from chronosdb.wal.layout import segment_path
from chronosdb.wal.segment import SegmentHeader
from chronosdb.wal.verify import PROBLEMS_MAX, VerifyReport
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, LOG_ID, draft, grow, open_log


@pytest.fixture
def disk() -> MemoryDisk:
    """A cleanly closed log of several segments, three records of 84 bytes a group."""
    disk = MemoryDisk()
    log = open_log(disk)
    grow(log, groups=30)
    log.close()
    return disk


def segments(disk: MemoryDisk) -> list[str]:
    return [f"{DIRECTORY}/{name}" for name in disk.listdir(DIRECTORY) if name.endswith(".log")]


def test_a_whole_log_is_ok(disk: MemoryDisk) -> None:
    report = verify(disk, DIRECTORY)
    assert report.ok
    assert (report.records, report.start_lsn, report.end_lsn) == (90, 0, 90 * 84)
    assert report.segments == len(segments(disk))
    assert str(report).splitlines()[-1] == "ok"
    assert report.notes == []


def test_verify_changes_nothing(disk: MemoryDisk) -> None:
    disk.calls.clear()
    verify(disk, DIRECTORY)
    assert set(disk.calls) <= {"open", "pread", "size", "read_file"}


def test_a_torn_tail_is_normal_after_a_crash(disk: MemoryDisk) -> None:
    log = open_log(disk)
    log.append([draft(1)])
    log.sync()
    disk.crash()
    disk.resize(segments(disk)[-1], disk.size(segments(disk)[-1]) - 10)
    report = verify(disk, DIRECTORY)
    assert report.ok
    assert report.torn_bytes == 74
    assert report.end_lsn == 90 * 84


def test_space_allocated_ahead_is_neither_torn_nor_damaged(disk: MemoryDisk) -> None:
    log = open_log(disk)
    log.reserve(84)
    log.append([draft(1)])
    log.sync()
    disk.crash()
    report = verify(disk, DIRECTORY)
    assert report.ok
    assert report.torn_bytes == 0


def test_space_allocated_behind_damage_is_not_damage_too(disk: MemoryDisk) -> None:
    log = open_log(disk)
    grow(log, groups=2)
    disk.crash()
    path = segments(disk)[-1]
    disk.resize(path, disk.size(path) + 1000)
    disk.damage(path, 64 + 70, b"\xff")
    report = verify(disk, DIRECTORY)
    assert report.problems_total == 1
    assert report.records == 95


def test_all_damage_in_all_segments_is_listed_and_the_rest_is_counted(disk: MemoryDisk) -> None:
    paths = segments(disk)
    for path in (paths[0], paths[2], paths[-1]):
        disk.damage(path, 64 + 84 + 70, b"\xff")
        disk.damage(path, 64 + 5 * 84 + 70, b"\xff")
    report = verify(disk, DIRECTORY)
    assert not report.ok
    assert report.problems_total == len(report.problems) == 6
    assert report.records == 90 - 6
    assert "DAMAGED: " in str(report)
    assert "its checksum does not match its bytes; no valid record for 84 bytes" in str(report)


def test_a_wrong_header_is_reported_and_its_records_are_still_read(disk: MemoryDisk) -> None:
    for path in (segments(disk)[1], segments(disk)[-1]):
        disk.damage(path, 30, b"\xff")
    report = verify(disk, DIRECTORY)
    assert report.problems_total == 2
    assert report.records == 90


def test_a_missing_segment_is_reported(disk: MemoryDisk) -> None:
    disk.unlink(segments(disk)[1])
    report = verify(disk, DIRECTORY)
    assert report.problems[0].why == "the segment of this index is missing"
    assert "but the next segment begins at" in str(report)


def test_a_segment_of_another_log_is_reported(disk: MemoryDisk) -> None:
    path = segments(disk)[1]
    header = SegmentHeader.decode(disk.read_file(path))
    disk.damage(path, 0, SegmentHeader(b"\xee" * 16, header.start).encode())
    report = verify(disk, DIRECTORY)
    assert f"it is of another log, {'ee' * 16}" in str(report)


def test_a_segment_that_begins_elsewhere_than_the_last_one_ended_is_reported(
    disk: MemoryDisk,
) -> None:
    path = segments(disk)[1]
    header = SegmentHeader.decode(disk.read_file(path))
    disk.damage(path, 0, SegmentHeader(LOG_ID, replace(header.start, offset=5)).encode())
    assert "it does not continue the segment before it" in str(verify(disk, DIRECTORY))


def test_records_that_do_not_continue_each_other_are_reported(disk: MemoryDisk) -> None:
    wrong = encode_group([draft(1)], Point(84, 777, 0, 0), 0)[0]
    disk.damage(segments(disk)[0], 64 + 84, b"".join(wrong))
    assert "its offset is 777, but the record before ends at 0" in str(verify(disk, DIRECTORY))


def test_a_lost_sidecar_is_only_a_note(disk: MemoryDisk) -> None:
    disk.unlink(f"{DIRECTORY}/{0:020d}.idx")
    report = verify(disk, DIRECTORY)
    assert report.ok
    assert "its index is missing or damaged" in report.notes[0]
    assert "note: " in str(report)


def test_what_is_known_to_have_been_durable_must_be_there(disk: MemoryDisk) -> None:
    last = segments(disk)[-1]
    report = verify(disk, DIRECTORY, durable_lsn=90 * 84 + 1)
    assert "it was durable up to lsn 7561" in str(report)
    disk.resize(last, disk.size(last) + 100)
    assert "it was durable up to lsn 7561" in str(verify(disk, DIRECTORY, durable_lsn=90 * 84 + 1))


def test_the_list_of_problems_has_a_limit() -> None:
    report = VerifyReport("/log")
    for lsn in range(PROBLEMS_MAX + 5):
        report.add("/log/x", lsn, "bad")
    assert len(report.problems) == PROBLEMS_MAX
    assert str(report).splitlines()[-2:] == ["  and 5 more", f"{PROBLEMS_MAX + 5} problems"]


def test_a_stray_file_with_a_far_number_does_not_keep_verify_busy(disk: MemoryDisk) -> None:
    """It looks for records in bytes that are there, not in all that the name says there should be."""
    disk.write_file_atomic(segment_path(DIRECTORY, 2**62), b"stray")
    report = verify(disk, DIRECTORY)
    assert not report.ok
    assert report.records > 0


def test_nothing_to_verify_is_an_error() -> None:
    disk = MemoryDisk()
    with pytest.raises(LogMissing):
        verify(disk, DIRECTORY)


def test_indexes_without_any_segment_are_damage(disk: MemoryDisk) -> None:
    for path in segments(disk):
        disk.unlink(path)
    assert not verify(disk, DIRECTORY).ok

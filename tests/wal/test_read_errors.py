"""A disk that fails to read: an error that says which record, and no other record is lost to it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from chronosdb.wal import DamagedRecord, Log, OutOfRange, Record, UnreadableRecord
from chronosdb.wal.segment_reader import SegmentReader
from tests.support.memory_disk import MemoryDisk, MemoryFile
from tests.wal.logs import DIRECTORY, grow, open_log, records_of

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD_BYTES = 84


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def log(disk: MemoryDisk) -> Log:
    log = open_log(disk)
    grow(log, groups=30)
    return log


def break_sector(monkeypatch: pytest.MonkeyPatch, path: str, first: int, stop: int) -> None:
    """Lets every read of these bytes of a file fail, until they are written again."""
    pread, pwrite = MemoryFile.pread, MemoryFile.pwrite
    healed: list[bool] = []

    def failing(file: MemoryFile, n: int, pos: int) -> bytes:
        hit = pos < stop and pos + n > first
        if hit and not healed and file._disk._names.get(path) is file._inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return pread(file, n, pos)

    def writing(file: MemoryFile, buffers: list[bytes], pos: int) -> None:
        if pos < stop and pos + sum(map(len, buffers)) > first:
            healed.append(True)
        pwrite(file, buffers, pos)

    monkeypatch.setattr(MemoryFile, "pread", failing)
    monkeypatch.setattr(MemoryFile, "pwrite", writing)


def break_record(monkeypatch: pytest.MonkeyPatch, log: Log, record: Record) -> None:
    base = max(s.start.lsn for s in log.segments() if s.start.lsn <= record.lsn)
    first = 64 + record.lsn - base + 70
    break_sector(monkeypatch, f"{DIRECTORY}/{base:020d}.log", first, first + 2)


def every_way(log: Log, record: Record) -> list[Callable[[], object]]:
    """Everything that must read this record."""
    return [
        lambda: log.read(record.lsn),
        lambda: list(log.scan()),
        lambda: log.raw(record.lsn, 1 << 20),
        lambda: log.raw(record.lsn, 1),
        lambda: log.at_offset(record.offset),
        lambda: log.at_time(record.ts_ms),
        lambda: log.point(record.next_lsn),
    ]


def test_a_failed_read_names_the_record_and_its_cause(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    record = next(r for r in records_of(log)[10:] if r.offsets)
    break_record(monkeypatch, log, record)
    for look in every_way(log, record):
        with pytest.raises(UnreadableRecord, match="the disk cannot be read") as caught:
            look()
        assert caught.value.lsn == record.lsn
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EIO


def test_who_handles_damage_handles_this_too() -> None:
    assert issubclass(UnreadableRecord, DamagedRecord)


def test_all_other_records_can_still_be_read(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """Also those that one large read would bring together with the bad place."""
    records = records_of(log)
    broken = records[10]
    break_record(monkeypatch, log, broken)
    for record in records:
        if record is not broken:
            assert log.read(record.lsn) == record
    scan = log.scan()
    assert [next(scan) for _ in range(10)] == records[:10]
    with pytest.raises(UnreadableRecord):
        next(scan)
    assert list(log.scan(stop_lsn=broken.lsn)) == records[:10]
    assert list(log.scan(broken.next_lsn)) == records[11:]
    assert log.raw(0, 1 << 20) == log.raw(0, RECORD_BYTES)


def test_a_bad_sector_is_repaired_by_writing_it(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """That of a record, and not that of its neighbour, which only shares a sector with it."""
    records = records_of(log)
    neighbour, broken = records[9], records[10]
    raws = [log.raw(record.lsn, 1) for record in (neighbour, broken)]
    break_record(monkeypatch, log, broken)
    log.repair(neighbour.lsn, raws[0])
    with pytest.raises(UnreadableRecord):
        log.read(broken.lsn)
    log.repair(broken.lsn, raws[1])
    assert records_of(log) == records


def test_failed_reads_do_not_end_the_log(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """They may have been the last of their kind; writing is not in question."""
    records = records_of(log)
    break_record(monkeypatch, log, records[0])
    with pytest.raises(UnreadableRecord):
        log.read(0)
    assert log.failed is None
    monkeypatch.undo()
    assert log.read(0) == records[0]
    more = grow(log, groups=1)
    assert records_of(log) == records + more


def test_a_file_that_cannot_be_opened_is_an_error_of_the_same_kind(
    disk: MemoryDisk, log: Log
) -> None:
    sealed = log.segments()[2].start.lsn
    disk.unlink(f"{DIRECTORY}/{sealed:020d}.log")
    with pytest.raises(UnreadableRecord, match=r"no valid record at lsn .*: the disk cannot"):
        log.read(sealed)
    with pytest.raises(OutOfRange):
        log.read(log.end_lsn)


def test_a_sidecar_that_cannot_be_read_costs_only_a_scan(
    monkeypatch: pytest.MonkeyPatch, disk: MemoryDisk, log: Log
) -> None:
    def failing(path: str) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(disk, "read_file", failing)
    for record in records_of(log):
        if record.offsets:
            assert log.at_offset(record.offset) == record


def test_a_survey_does_not_take_a_failed_read_for_the_end_of_the_log(disk: MemoryDisk) -> None:
    """What walks over damage passes other errors on: a log is not cut because a disk hiccups."""

    def failing(n: int, pos: int) -> bytes:
        raise OSError(errno.EIO, f"{n} bytes at {pos}")

    with pytest.raises(OSError, match="64 bytes at 64"):
        list(SegmentReader(failing, 0).walk(0, 1000, 64))
    assert not disk.files()

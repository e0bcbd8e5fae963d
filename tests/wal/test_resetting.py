"""A log that forgets everything and begins somewhere else: after any crash it is the old one or the new."""

from __future__ import annotations

import errno
from contextlib import suppress
from random import Random

import pytest

from chronosdb.wal import (
    DiskFull,
    Log,
    LogClosed,
    LogDamaged,
    LogFailed,
    LogMissing,
    OutOfRange,
    Point,
    WrongLog,
    verify,
)
from tests.crash.watch import Tally, Watch
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, SMALL, draft, grow, open_log, records_of

OLD_START = 84 * 21
"""Where the old log begins, after it lost its oldest records."""


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


def old_log(disk: MemoryDisk) -> Log:
    """Some segments, the oldest of them dropped, and a tail that nobody synced."""
    log = open_log(disk)
    grow(log, groups=30)
    log.drop_before(log.segments()[1].start.lsn)
    assert log.start_lsn == OLD_START
    log.append([draft(900), draft(901)])
    return log


STARTS = [
    Point(0, 0, 0, 0),
    Point(84, 3, 2, 5),
    Point(OLD_START, 70, 80, 90),
    Point(OLD_START + 84, 1, 1, 1),
    Point(84 * 90, 5, 6, 10**6),
    Point(84 * 92, 5, 6, 10**6),
    Point(10**9, 10**6, 10**5, 10**6),
]
"""Below what was there, where it began, inside, at what was synced, at its end, and far above."""


def is_empty_at(log: Log, start: Point) -> bool:
    return (log.start_lsn, log.point(log.end_lsn), records_of(log)) == (start.lsn, start, [])


@pytest.mark.parametrize("start", STARTS)
def test_a_log_begins_anew_below_inside_or_above_what_was_there(
    disk: MemoryDisk, start: Point
) -> None:
    log = old_log(disk)
    log.reset(start)
    assert is_empty_at(log, start)
    assert log.synced_lsn == start.lsn
    assert log.last_epoch() == 0
    names = [f"{start.lsn:020d}.log", f"{start.lsn:020d}.start"]
    assert disk.listdir(DIRECTORY) == (names if start.lsn else names[:1])
    disk.crash()
    assert verify(disk, DIRECTORY).ok
    again = open_log(disk)
    assert is_empty_at(again, start)
    records = grow(again, groups=30)
    assert records_of(again) == records
    assert records[0].offset == start.offset
    disk.crash()
    assert records_of(open_log(disk)) == records


def test_what_was_there_can_be_copied_again(disk: MemoryDisk) -> None:
    source = open_log(MemoryDisk())
    records = grow(source, groups=30)
    copy = old_log(disk)
    start = source.point(records[50].lsn)
    copy.reset(start)
    while raw := source.raw(copy.end_lsn, 1000):
        copy.copy(raw)
    assert records_of(copy) == records[50:]


def test_the_past_is_out_of_range(disk: MemoryDisk) -> None:
    log = old_log(disk)
    scan = log.scan()
    next(scan)
    log.reset(Point(10**6, 500, 600, 700))
    for look in (lambda: log.read(OLD_START), lambda: log.at_offset(60), lambda: list(scan)):
        with pytest.raises(OutOfRange):
            look()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("trouble", ["dies", "power", "torn"])
def test_a_crash_at_any_call_leaves_the_old_log_or_the_new(start: Point, trouble: str) -> None:
    for n in range(1, 200):
        disk = MemoryDisk()
        log = old_log(disk)
        old, synced = records_of(log), log.synced_lsn
        if trouble == "dies":
            disk.fail_at(n)
        else:
            disk.cut_power_at(n)
        try:
            log.reset(start)
        except LogFailed:
            with pytest.raises(LogFailed):
                log.append([draft(1)])
            if trouble != "dies":
                disk.crash(Random(n) if trouble == "torn" else None)
            assert verify(disk, DIRECTORY).ok
            again = open_log(disk)
            found = records_of(again)
            if not is_empty_at(again, start):
                assert again.start_lsn == OLD_START
                assert again.end_lsn >= synced
                assert found == old[: len(found)]
            found += grow(again, groups=1)
            disk.crash()
            assert records_of(open_log(disk)) == found
        else:
            assert n > 15
            return
    raise AssertionError("the reset never ends")


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_every_state_that_a_power_cut_may_leave_is_the_old_log_or_the_new(start: Point) -> None:
    """Names in any combination, writes in any order."""
    disk = MemoryDisk()
    log = old_log(disk)
    old, synced = records_of(log), log.synced_lsn
    done = False

    def check(survivor: MemoryDisk) -> None:
        assert verify(survivor, DIRECTORY).ok
        again = open_log(survivor)
        if not is_empty_at(again, start):
            found = records_of(again)
            assert not done
            assert (again.start_lsn, found) == (OLD_START, old[: len(found)])
            assert again.end_lsn >= synced

    tally = Tally()
    with Watch(disk, Random(start.lsn), tally, check, None):
        log.reset(start)
        done = True
    assert not tally.violations, tally.violations[:3]
    assert tally.states > 60


@pytest.mark.parametrize("start", STARTS)
def test_a_second_crash_at_any_call_of_recovery_finishes_the_reset(start: Point) -> None:
    for first in range(6, 16):
        original = MemoryDisk()
        log = old_log(original)
        original.cut_power_at(first)
        with pytest.raises(LogFailed):
            log.reset(start)
        original.crash(Random(first))
        is_new = is_empty_at(open_log(original.copy()), start)
        n, armed = 0, False
        while not armed:
            disk = original.copy()
            n += 1
            disk.cut_power_at(n)
            with suppress(LogFailed, OSError):
                open_log(disk)
            armed = disk.armed
            disk.crash(Random(n))
            assert verify(disk, DIRECTORY).ok
            assert is_empty_at(open_log(disk), start) == is_new


def begun(disk: MemoryDisk, start: Point) -> str:
    """A reset that stopped as soon as it was certain; the name of its file."""
    log = old_log(disk)
    disk.fail_at(6)
    with pytest.raises(LogFailed):
        log.reset(start)
    name = f"{start.lsn:020d}.reset"
    assert name in disk.listdir(DIRECTORY)
    return name


def test_a_reset_that_is_not_finished_can_be_verified_and_is_no_log_to_read(
    disk: MemoryDisk,
) -> None:
    name = begun(disk, STARTS[-1])
    before = disk.listdir(DIRECTORY)
    with pytest.raises(LogMissing, match="is being reset: open it for writing"):
        open_log(disk, writable=False)
    report = verify(disk, DIRECTORY)
    assert report.ok
    assert f"{name}: the next start begins here" in str(report)
    assert disk.listdir(DIRECTORY) == before


def test_a_reset_whose_file_is_damaged_destroys_nothing(disk: MemoryDisk) -> None:
    name = begun(disk, STARTS[-1])
    disk.damage(f"{DIRECTORY}/{name}", 33, b"\xff")
    before = disk.listdir(DIRECTORY)
    with pytest.raises(LogDamaged, match=rf"{name}: the checksum"):
        open_log(disk)
    assert disk.listdir(DIRECTORY) == before


def test_a_reset_of_another_log_or_place_destroys_nothing(disk: MemoryDisk) -> None:
    name = begun(disk, STARTS[-1])
    before = disk.listdir(DIRECTORY)
    with pytest.raises(WrongLog, match="belongs to the log"):
        Log.open(disk, DIRECTORY, SMALL, log_id=bytes(16))
    assert disk.listdir(DIRECTORY) == before
    disk.rename(f"{DIRECTORY}/{name}", f"{DIRECTORY}/{5:020d}.reset")
    with pytest.raises(LogDamaged, match="says that it begins at 1000000000"):
        open_log(disk)


def test_a_full_disk_refuses_a_reset_and_nothing_has_changed(disk: MemoryDisk) -> None:
    log = old_log(disk)
    before, listing = records_of(log), disk.listdir(DIRECTORY)
    disk.capacity = disk.used_bytes
    with pytest.raises(DiskFull):
        log.reset(STARTS[-1])
    assert (records_of(log), disk.listdir(DIRECTORY)) == (before, listing)
    disk.capacity = 1 << 30
    log.reset(STARTS[-1])
    assert is_empty_at(log, STARTS[-1])


def test_once_a_reset_is_certain_a_full_disk_is_an_error_like_any_other() -> None:
    """Nobody is told that nothing has changed when everything has."""
    results = set()
    for n in range(1, 30):
        state = MemoryDisk()
        log = old_log(state)
        state.fail_at(n, errno.ENOSPC)
        try:
            log.reset(STARTS[-1])
            results.add("done")
        except DiskFull:
            results.add("refused")
            assert log.end_lsn == 84 * 92
            grow(log, groups=1)
        except LogFailed:
            results.add("failed")
            assert f"{STARTS[-1].lsn:020d}" in "".join(state.listdir(DIRECTORY))
    assert results == {"done", "refused", "failed"}


def test_a_closed_or_read_only_log_cannot_be_reset(disk: MemoryDisk) -> None:
    log = old_log(disk)
    log.close()
    for reader in (log, open_log(disk, writable=False)):
        with pytest.raises(LogClosed):
            reader.reset(STARTS[0])

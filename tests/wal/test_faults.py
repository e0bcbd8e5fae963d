"""Every call to the disk fails once, or is the last before a power cut (I1, I15)."""

from __future__ import annotations

import errno
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import pytest

from chronosdb.wal import DiskFull, Log, LogFailed, Record
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import draft, drafts, grow, open_log, records_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Story:
    """One life of a log: groups, rolls, a clean stop, a restart; and what was acknowledged in it."""

    def __init__(self, disk: MemoryDisk) -> None:
        self.disk = disk
        self.log: Log | None = None
        self.written: list[Record] = []
        """Appended, whether synced or not."""
        self.acked = 0
        """How many of these were synced: a caller may have been told."""
        self.kept_from = 0
        """What lies below was to be dropped, and may be gone or not."""

    def run(self) -> None:
        self.log = open_log(self.disk)
        for i in range(6):
            self._group(i)
        self.log.close()
        self.log = open_log(self.disk)
        for i in range(6, 9):
            self._group(i)
        self.kept_from = self.log.segments()[1].start.lsn
        self.log.drop_before(self.kept_from)
        self._group(9)

    def _group(self, i: int) -> None:
        assert self.log is not None
        group = drafts(5 * i, 3 + i % 3, size=60)
        self.log.reserve(sum(d.nbytes for d in group))
        self.written += self.log.append(group)
        if i % 3 != 1:
            self.log.sync()
            self.acked = len(self.written)

    def check_recovered(self, disk: MemoryDisk) -> None:
        """Nothing acknowledged is lost, nothing is invented, and the log goes on."""
        log = open_log(disk)
        assert log.start_lsn in {0, self.kept_from}
        found = [r for r in self.written if r.lsn < log.start_lsn] + records_of(log)
        assert found[: self.acked] == self.written[: self.acked]
        assert found[: len(self.written)] == self.written[: len(found)]
        grow(log, groups=1)
        stored = records_of(log)
        assert stored[:-3] == [r for r in found if r.lsn >= log.start_lsn]
        # What the successor showed or acknowledged is durable now, whatever a sync before it hid.
        disk.crash()
        assert records_of(open_log(disk)) == stored


def every_call(
    arm: Callable[[MemoryDisk, int], None],
) -> Iterator[tuple[int, Story, BaseException]]:
    """Runs the story with trouble at the first call, the second, ... until it ends without."""
    for n in range(1, 10_000):
        story = Story(MemoryDisk())
        arm(story.disk, n)
        try:
            story.run()
        except (LogFailed, DiskFull, OSError) as error:
            yield n, story, error
        if story.disk.armed:
            return
    raise AssertionError("the story never ends")


def test_the_story_has_many_places_to_fail() -> None:
    story = Story(MemoryDisk())
    story.run()
    assert len(story.disk.calls) > 60
    assert story.disk.calls.count("fdatasync") >= 10
    assert 0 < story.acked <= len(story.written)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EINTR])
@pytest.mark.parametrize("power_cut", [False, True])
def test_an_error_at_any_call_loses_nothing_acknowledged(code: int, power_cut: bool) -> None:
    for n, story, _ in every_call(lambda disk, n: disk.fail_at(n, code)):
        if power_cut:
            story.disk.crash(Random(n))
        story.check_recovered(story.disk)


@pytest.mark.parametrize("seed", range(4))
def test_a_power_cut_at_any_call_loses_nothing_acknowledged(seed: int) -> None:
    for n, story, _ in every_call(lambda disk, n: disk.cut_power_at(n)):
        story.disk.crash(Random(1000 * seed + n) if seed else None)
        story.check_recovered(story.disk)


def test_a_second_power_cut_at_any_call_of_recovery_loses_nothing_either() -> None:
    for first in range(10, 60, 7):
        story = Story(MemoryDisk())
        story.disk.cut_power_at(first)
        with pytest.raises((OSError, LogFailed)):
            story.run()
        story.disk.crash(Random(first))
        n, armed = 0, False
        while not armed:
            disk = story.disk.copy()
            n += 1
            disk.cut_power_at(n)
            with suppress(LogFailed, OSError):
                open_log(disk)
            armed = disk.armed
            disk.crash(Random(n))
            story.check_recovered(disk)


def append_and_sync(log: Log) -> None:
    log.append([draft(1)])
    log.sync()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EINTR])
def test_after_the_first_failed_write_or_sync_nothing_is_accepted(call: str, code: int) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=2)
    log.reserve(84)
    disk.fail_at(1 if call == "pwrite" else 2, code)
    with pytest.raises(LogFailed) as caught:
        append_and_sync(log)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == code
    assert log.failed is caught.value.__cause__
    disk.calls.clear()
    for attempt in (log.sync, lambda: log.append([draft(2)]), lambda: log.reserve(1)):
        with pytest.raises(LogFailed) as again:
            attempt()
        assert again.value.__cause__ is log.failed
    assert disk.calls == [], "the disk was asked again"
    assert log.synced_lsn == records[-1].next_lsn
    assert list(log.scan(stop_lsn=log.synced_lsn)) == records
    log.close()
    assert "fdatasync" not in disk.calls


def test_a_failed_sync_that_a_second_one_would_hide_is_not_hidden() -> None:
    """The disk model forgets unwritten bytes on a failed fsync, as Linux does; the log must not."""
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=2)
    log.append([draft(1)])
    disk.fail_at(1)
    with pytest.raises(LogFailed):
        log.sync()
    with pytest.raises(LogFailed):
        log.sync()
    log.close()
    disk.crash()
    assert records_of(open_log(disk)) == records


def test_a_process_that_dies_just_after_rolling_loses_nothing_to_a_later_power_cut() -> None:
    """Its successor must make the new segment's name durable before it acknowledges anything."""
    for n in range(1, 40):
        disk = MemoryDisk()
        log = open_log(disk)
        grow(log, groups=1, per_group=20)
        disk.fail_at(n)
        try:
            log.reserve(1000)
        except LogFailed:
            successor = open_log(disk)
            grow(successor, groups=2)
            expected = records_of(successor)
            disk.crash()
            assert records_of(open_log(disk)) == expected
        else:
            assert disk.armed
            return
    raise AssertionError("rolling never ends")


def test_a_read_error_is_not_a_torn_tail() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    records = grow(log, groups=3)
    log.close()
    failures = 0
    while True:
        disk.fail_at(failures + 1)
        try:
            again = open_log(disk)
        except (OSError, LogFailed):
            failures += 1
            continue
        break
    assert failures > 5
    disk.crash()
    assert again.end_lsn == records[-1].next_lsn
    assert records_of(open_log(disk)) == records

"""A log whose newest records are taken back: what is left, who may read meanwhile, every crash in between."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import pytest

from chronosdb.wal import (
    DamagedRecord,
    DiskFull,
    Draft,
    Log,
    LogClosed,
    LogDamaged,
    LogFailed,
    OsDisk,
    OutOfRange,
    Record,
    verify,
)
from tests.crash.watch import Tally, Watch
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, SMALL, draft, grow, open_log, records_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def log(disk: MemoryDisk) -> Log:
    """Four sealed segments, and one that is being written."""
    log = open_log(disk)
    grow(log, groups=30)
    assert len(log.segments()) == 5
    return log


def below(records: list[Record], lsn: int) -> list[Record]:
    return [record for record in records if record.lsn < lsn]


def others(log: Log, count: int = 100) -> list[Record]:
    """Records unlike any that were there before; a hundred fill what was cut, and more."""
    written: list[Record] = []
    for n in range(count):
        written += log.append([Draft(9, 10**7 + n, [b"other %d" % n], offsets=1, epoch=99)])
    log.sync()
    return written


def check_lookups(log: Log, records: list[Record]) -> None:
    for record in records:
        assert log.read(record.lsn) == record
        if record.offsets:
            assert log.at_offset(record.offset) == record
        if record.positions:
            assert log.at_position(record.position) == record
        assert log.at_time(record.ts_ms).ts_ms == record.ts_ms


# What is left.


def test_a_log_can_be_cut_before_any_record_and_goes_on_from_there(disk: MemoryDisk) -> None:
    log = open_log(disk)
    records = grow(log, groups=30)
    for record in records[::7]:
        state = disk.copy()
        cut = open_log(state)
        point = cut.point(record.lsn)
        cut.truncate(record.lsn)
        kept = below(records, record.lsn)
        assert records_of(cut) == kept
        assert cut.point(cut.end_lsn) == point
        assert cut.synced_lsn == cut.end_lsn == record.lsn
        assert cut.last_epoch() == (kept[-1].epoch if kept else 0)
        check_lookups(cut, kept[-30:])
        new = others(cut)
        assert records_of(cut) == kept + new
        check_lookups(cut, kept[-10:] + new)
        state.crash()
        assert verify(state, DIRECTORY).ok
        again = open_log(state)
        assert records_of(again) == kept + new
        check_lookups(again, kept[-10:] + new)


def test_only_files_of_what_is_left_remain(disk: MemoryDisk, log: Log) -> None:
    kept = log.segments()[2]
    log.truncate(kept.start.lsn + 84)
    bases = [segment.start.lsn for segment in log.segments()]
    assert bases[-1] == kept.start.lsn
    assert disk.listdir(DIRECTORY) == sorted(
        [f"{base:020d}.log" for base in bases] + [f"{base:020d}.idx" for base in bases[:-1]]
    )
    assert disk.size(f"{DIRECTORY}/{bases[-1]:020d}.log") == 64 + log.end_lsn - bases[-1]


def test_a_log_cut_where_a_segment_begins_keeps_it_empty(disk: MemoryDisk, log: Log) -> None:
    records, start = records_of(log), log.segments()[3].start
    log.truncate(start.lsn)
    assert log.segments()[-1].start == log.segments()[-1].end == start
    for reader in (log, open_log(disk)):
        assert records_of(reader) == below(records, start.lsn)
        assert reader.next_offset == start.offset


def test_a_log_can_be_cut_to_nothing(disk: MemoryDisk, log: Log) -> None:
    log.drop_before(log.segments()[2].start.lsn)
    start = log.segments()[0].start
    log.truncate(start.lsn)
    assert log.start_lsn == log.end_lsn == start.lsn
    log.truncate(start.lsn)
    disk.crash()
    again = open_log(disk)
    assert (records_of(again), again.point(again.start_lsn)) == ([], start)
    new = others(again)
    assert records_of(again) == new


def test_a_cut_at_the_end_only_syncs(disk: MemoryDisk, log: Log) -> None:
    records = records_of(log) + log.append([draft(999)])
    disk.calls.clear()
    log.truncate(log.end_lsn)
    assert disk.calls == ["fdatasync"]
    disk.crash()
    assert records_of(open_log(disk)) == records


def test_what_was_not_durable_below_the_cut_is_durable_after_it(disk: MemoryDisk) -> None:
    log = open_log(disk)
    records = log.append([draft(n) for n in range(6)])
    log.truncate(records[4].lsn)
    disk.crash()
    assert records_of(open_log(disk)) == records[:4]


def test_a_log_can_be_cut_again_and_again(disk: MemoryDisk, log: Log) -> None:
    records, rng = records_of(log), Random(5)
    for round_ in range(20):
        lsn = rng.choice(records).lsn
        log.truncate(lsn)
        records = below(records, lsn) + others(log)[: rng.randint(1, 100)]
        log.truncate(records[-1].next_lsn)
        if round_ % 3 == 0:
            log.close()
            log = open_log(disk)
        assert records_of(log) == records
        check_lookups(log, records[-5:])
        assert not [name for name in disk.listdir(DIRECTORY) if name.endswith(".cut")]


def test_the_note_of_a_clean_close_does_not_testify_for_what_was_cut(disk: MemoryDisk) -> None:
    """It says how far the log was durable; that would make the cut look like damage."""
    log = open_log(disk)
    records = grow(log, groups=2)
    log.close()
    log = open_log(disk)
    log.truncate(records[2].lsn)
    disk.crash()
    assert records_of(open_log(disk)) == records[:2]


def test_damage_above_the_cut_does_not_hinder_it(disk: MemoryDisk, log: Log) -> None:
    records, last = records_of(log), log.segments()[-1].start.lsn
    disk.damage(f"{DIRECTORY}/{last:020d}.log", 64 + 84 + 70, b"\xff")
    log.truncate(last + 84)
    assert records_of(log) == below(records, last + 84)
    assert verify(disk, DIRECTORY).ok


# What is refused.


@pytest.mark.parametrize("away", [-1, 1, 50])
def test_only_where_a_record_begins_a_log_is_cut(disk: MemoryDisk, log: Log, away: int) -> None:
    records, calls = records_of(log), len(disk.calls)
    with pytest.raises(DamagedRecord):
        log.truncate(records[10].lsn + away)
    for lsn in (-84, log.end_lsn + 84):
        with pytest.raises(OutOfRange):
            log.truncate(lsn)
    assert not set(disk.calls[calls:]) & {"truncate", "unlink", "pwrite", "fdatasync"}
    assert records_of(log) == records


def test_a_closed_or_read_only_log_cannot_be_cut(disk: MemoryDisk, log: Log) -> None:
    log.close()
    for reader in (log, open_log(disk, writable=False)):
        with pytest.raises(LogClosed):
            reader.truncate(0)


def test_a_full_disk_refuses_the_mark_and_nothing_has_changed(disk: MemoryDisk, log: Log) -> None:
    records, listing = records_of(log), disk.listdir(DIRECTORY)
    lsn, segments = records[10].lsn, log.segments()
    disk.fail_at(calls_of(disk, lambda: log.point(lsn)) + 1, errno.ENOSPC)
    with pytest.raises(DiskFull, match="note where the log is cut"):
        log.truncate(lsn)
    assert (log.segments(), disk.listdir(DIRECTORY)) == (segments, listing)
    log.truncate(lsn)
    assert records_of(log) == below(records, lsn)


def calls_of(disk: MemoryDisk, action: Callable[[], object]) -> int:
    """How many it takes when all that can be cached is."""
    action()
    before = len(disk.calls)
    action()
    return len(disk.calls) - before


# Crashes.


def life(disk: MemoryDisk, lsn: int) -> tuple[Log, list[Record]]:
    """A log with a tail that nobody synced, just before it is cut."""
    log = open_log(disk)
    written = grow(log, groups=30) + log.append([draft(n) for n in range(900, 904)])
    assert log.point(lsn).lsn == lsn
    return log, written


@pytest.mark.parametrize("lsn", [0, 84 * 30, 84 * 63, 84 * 85, 84 * 92])
@pytest.mark.parametrize("trouble", ["dies", "power", "torn"])
def test_a_crash_at_any_call_leaves_the_old_end_or_the_cut(lsn: int, trouble: str) -> None:
    """And what is written next is never followed by what was cut, whatever happens then."""
    for n in range(1, 200):
        disk = MemoryDisk()
        log, written = life(disk, lsn)
        synced, end = log.synced_lsn, log.end_lsn
        if trouble == "dies":
            disk.fail_at(n)
        else:
            disk.cut_power_at(n)
        try:
            log.truncate(lsn)
            # One failed read of what is only a shortcut does not matter.
            assert log.end_lsn == lsn
        except (LogFailed, DamagedRecord):
            if trouble != "dies":
                disk.crash(Random(n) if trouble == "torn" else None)
            assert verify(disk, DIRECTORY).ok
            reader = open_log(disk, writable=False)
            again = open_log(disk)
            assert again.end_lsn == reader.end_lsn == lsn or synced <= again.end_lsn <= end
            left = records_of(again)
            assert left == below(written, again.end_lsn)
            new = others(again)
            disk.crash()
            assert records_of(open_log(disk)) == left + new
        if disk.armed:
            assert n > 8
            return
    raise AssertionError("cutting never ends")


@pytest.mark.slow
@pytest.mark.parametrize("lsn", [0, 84 * 30, 84 * 63, 84 * 85, 84 * 92])
def test_every_state_that_a_power_cut_may_leave_is_the_old_end_or_the_cut(lsn: int) -> None:
    """Names in any combination, writes in any order; and it stays cut when the log goes on."""
    disk = MemoryDisk()
    log, written = life(disk, lsn)
    durable = below(written, log.synced_lsn)
    cut = below(written, lsn)
    acked: list[Record] | None = None

    def check(survivor: MemoryDisk) -> None:
        assert verify(survivor, DIRECTORY).ok
        found = records_of(open_log(survivor))
        if acked is None:
            assert found == cut or (found[: len(durable)], found) == (
                durable,
                written[: len(found)],
            )
        else:
            assert found[: len(acked)] == acked

    tally = Tally()
    with Watch(disk, Random(lsn), tally, check, None):
        log.truncate(lsn)
        acked = cut
        acked = cut + others(log, count=5)
    assert not tally.violations, tally.violations[:3]
    assert tally.states > 40


def test_a_second_crash_at_any_call_of_recovery_finishes_the_cut_all_the_same() -> None:
    lsn = 84 * 30
    for first in range(4, 14):
        original = MemoryDisk()
        log, written = life(original, lsn)
        original.cut_power_at(first)
        with pytest.raises(LogFailed):
            log.truncate(lsn)
        original.crash(Random(first))
        before = open_log(original.copy(), writable=False).end_lsn
        n, armed = 0, False
        while not armed:
            disk = original.copy()
            n += 1
            disk.cut_power_at(n)
            with suppress(LogFailed, OSError):
                open_log(disk)
            armed = disk.armed
            disk.crash(Random(n))
            again = open_log(disk)
            assert again.end_lsn in {before, lsn}
            assert records_of(again) == below(written, again.end_lsn)


def test_a_cut_that_is_not_finished_is_seen_by_readers_and_by_verify(disk: MemoryDisk) -> None:
    """The mark alone makes the log end there; opening read-only changes nothing."""
    _, written = life(disk, lsn := 84 * 30)
    disk.open(f"{DIRECTORY}/{lsn:020d}.cut", create=True)
    before = disk.listdir(DIRECTORY)
    assert records_of(open_log(disk, writable=False)) == below(written, lsn)
    report = verify(disk, DIRECTORY)
    assert report.ok
    assert (report.end_lsn, report.torn_bytes) == (lsn, 0)
    assert f"{lsn:020d}.cut: left over; the next start removes it" in str(report)
    assert disk.listdir(DIRECTORY) == before
    again = open_log(disk)
    assert records_of(again) == below(written, lsn)
    assert not set(disk.listdir(DIRECTORY)) & {f"{lsn:020d}.cut", *before[5:]}


def test_a_cut_below_what_somebody_knows_to_be_durable_is_damage(disk: MemoryDisk) -> None:
    """A view that has applied what is cut off would otherwise go on with what nobody has."""
    log, _ = life(disk, lsn := 84 * 30)
    log.truncate(lsn)
    open_log(disk, durable_lsn=lsn)
    with pytest.raises(LogDamaged, match="it was durable up to lsn 2604"):
        open_log(disk, durable_lsn=lsn + 84)


# Readers.


def test_a_scan_below_the_cut_goes_on_and_one_above_it_ends_with_out_of_range(log: Log) -> None:
    records = records_of(log)
    lsn = log.segments()[2].start.lsn + 84
    under, over = log.scan(stop_lsn=lsn), log.scan()
    assert next(under) == next(over) == records[0]
    log.truncate(lsn)
    assert [records[0], *under] == below(records, lsn)
    seen = [records[0]]
    with pytest.raises(OutOfRange, match="cut off"):
        seen += over
    assert seen == records[: len(seen)]


def test_a_lookup_that_a_cut_overtakes_looks_again(
    disk: MemoryDisk, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its index is lost, and while it builds it anew from a whole segment, half of that goes."""
    records = records_of(log)
    start = log.segments()[2].start
    wanted = next(r for r in records if r.lsn >= start.lsn and r.offsets)
    disk.unlink(f"{DIRECTORY}/{start.lsn:020d}.idx")
    read_file = disk.read_file

    def cut_first(path: str) -> bytes:
        monkeypatch.undo()
        log.truncate(start.lsn + 5 * 84)
        return read_file(path)

    monkeypatch.setattr(disk, "read_file", cut_first)
    assert log.at_offset(wanted.offset) == wanted
    assert log.end_lsn == start.lsn + 5 * 84


def test_an_index_built_before_a_cut_is_not_stored_after_it(disk: MemoryDisk, log: Log) -> None:
    """It would say that the log is longer than it is."""
    start = log.segments()[2].start
    disk.unlink(f"{DIRECTORY}/{start.lsn:020d}.idx")
    log.at_offset(start.offset)
    log.truncate(start.lsn + 84)
    log.close()
    assert f"{start.lsn:020d}.idx" in disk.listdir(DIRECTORY)
    again = open_log(disk)
    assert again.end_lsn == start.lsn + 84
    written = others(again)
    check_lookups(again, written)


def read_until(
    log: Log, kept: list[Record], done: threading.Event, errors: list[BaseException]
) -> None:
    try:
        while not done.is_set():
            assert list(log.scan(stop_lsn=kept[-1].next_lsn)) == kept
            for record in kept[-20:]:
                assert log.read(record.lsn) == record
                if record.offsets:
                    assert log.at_offset(record.offset) == record
    except BaseException as error:  # noqa: BLE001 - handed to the test
        errors.append(error)


@pytest.mark.slow
def test_two_readers_below_a_writer_that_cuts_all_the_time(tmp_path: Path) -> None:
    """What is kept reads the same at every moment."""
    log = open_log(OsDisk(), SMALL, directory=str(tmp_path))
    kept = grow(log, groups=15)
    done, errors = threading.Event(), list[BaseException]()
    readers = [
        threading.Thread(target=read_until, args=(log, kept, done, errors)) for _ in range(2)
    ]
    for reader in readers:
        reader.start()
    rng = Random(1)
    for _ in range(20):
        above = [record.lsn for record in others(log, count=40)]
        log.truncate(rng.choice([kept[-1].next_lsn, *above]))
        log.truncate(kept[-1].next_lsn)
    done.set()
    for reader in readers:
        reader.join()
    assert not errors, errors[0]
    assert records_of(log) == kept
    log.close()

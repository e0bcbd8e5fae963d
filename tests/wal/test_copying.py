"""Records go from one log to another as bytes, and are the same records there."""

from __future__ import annotations

import errno
from dataclasses import replace
from random import Random

import pytest

from chronosdb.wal import (
    BadCopy,
    DamagedRecord,
    DiskFull,
    Draft,
    Log,
    LogClosed,
    LogFailed,
    OutOfRange,
    Point,
    Record,
    TooLarge,
    verify,
)
from chronosdb.wal.codec import encode_group
from tests.crash.watch import Tally, Watch
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, SMALL, draft, drafts, grow, open_log, records_of

NARROW = replace(SMALL, segment_bytes=1300)
RECORD_BYTES = 84


@pytest.fixture
def leader() -> Log:
    """A log of several segments, each group synced before the next."""
    log = open_log(MemoryDisk())
    grow(log, groups=40)
    assert len(log.segments()) > 4
    return log


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


def whole(log: Log) -> bytes:
    """All its records, as bytes."""
    raw = b""
    while chunk := log.raw(log.start_lsn + len(raw), 1 << 20):
        raw += chunk
    return raw


def group(drafts_: list[Draft], point: Point, synced_lsn: int) -> tuple[bytes, Point]:
    buffers, _, end = encode_group(drafts_, point, synced_lsn)
    return b"".join(buffers), end


# What a log gives.


def test_all_of_a_log_comes_out_piece_by_piece(leader: Log) -> None:
    for max_bytes in (1, RECORD_BYTES, 200, 700, 1 << 20):
        pieces, lsn = list[bytes](), 0
        while piece := leader.raw(lsn, max_bytes):
            assert len(piece) <= max(max_bytes, RECORD_BYTES)
            pieces.append(piece)
            lsn += len(piece)
        assert lsn == leader.end_lsn
        assert b"".join(pieces) == whole(leader)


def test_at_least_one_record_comes_however_large(disk: MemoryDisk) -> None:
    log = open_log(disk)
    (large,) = log.append([draft(1, 512)])
    grow(log, groups=1)
    assert len(log.raw(0, 10)) == large.next_lsn


def test_nothing_comes_from_where_the_asked_range_ends(leader: Log) -> None:
    stop = records_of(leader)[5].lsn
    assert leader.raw(stop, 1000, stop) == b""
    assert leader.raw(0, 1 << 20, stop) == whole(leader)[:stop]
    assert leader.raw(leader.end_lsn, 1000) == b""
    assert open_log(MemoryDisk()).raw(0, 1000) == b""


@pytest.mark.parametrize(("lsn", "stop"), [(-84, None), (10**6, None), (84, 0), (0, 10**6)])
def test_what_the_log_does_not_hold_is_out_of_range(
    leader: Log, lsn: int, stop: int | None
) -> None:
    with pytest.raises(OutOfRange):
        leader.raw(lsn, 1000, stop)


def test_damage_is_never_given_away(disk: MemoryDisk) -> None:
    """Records before it are; from the damaged one on, and from inside of a record, there is an error."""
    log = open_log(disk)
    records = grow(log, groups=3)
    bad = records[4].lsn
    disk.damage(f"{DIRECTORY}/{0:020d}.log", 64 + bad + 70, b"\xff")
    assert log.raw(0, 1 << 20) == log.raw(0, 1 << 20, bad)
    assert len(log.raw(0, 1 << 20)) == bad
    for lsn in (bad, bad + 5):
        with pytest.raises(DamagedRecord):
            log.raw(lsn, 1 << 20)
    assert len(log.raw(records[5].lsn, 1 << 20)) == log.end_lsn - records[5].lsn


def test_records_that_do_not_continue_each_other_are_not_given_away(disk: MemoryDisk) -> None:
    log = open_log(disk)
    first, second, *_ = grow(log, groups=1)
    wrong = replace(first.end, offset=77)
    stray, _ = group([draft(5)], wrong, 0)
    disk.damage(f"{DIRECTORY}/{0:020d}.log", 64 + second.lsn, stray)
    assert len(log.raw(0, 1 << 20)) == second.lsn


def test_a_point_is_known_before_every_record_and_at_the_end(leader: Log) -> None:
    point = Point(0, 0, 0, 0)
    for record in records_of(leader):
        assert leader.point(record.lsn) == point
        point = record.end
    assert leader.point(leader.end_lsn) == point
    for segment in leader.segments():
        assert leader.point(segment.start.lsn) == segment.start


def test_there_is_no_point_inside_a_record_or_outside_the_log(leader: Log) -> None:
    for record in records_of(leader):
        for lsn in (record.lsn + 1, record.next_lsn - 1):
            with pytest.raises(DamagedRecord):
                leader.point(lsn)
    for lsn in (-1, leader.end_lsn + 1):
        with pytest.raises(OutOfRange):
            leader.point(lsn)


# What a log takes.


@pytest.mark.parametrize("max_bytes", [1, 500, 3000, 1 << 20])
def test_a_copy_has_the_same_bytes_whatever_the_sizes_of_its_segments(
    leader: Log, disk: MemoryDisk, max_bytes: int
) -> None:
    copy = open_log(disk, NARROW)
    while raw := leader.raw(copy.end_lsn, max_bytes):
        assert [record.lsn for record in copy.copy(raw)][-1] < copy.end_lsn
    assert whole(copy) == whole(leader)
    assert len(copy.segments()) > len(leader.segments())
    assert (copy.next_offset, copy.next_position) == (leader.next_offset, leader.next_position)
    assert copy.last_ts_ms == leader.last_ts_ms
    copy.close()
    assert verify(disk, DIRECTORY).ok
    again = open_log(disk, NARROW)
    assert records_of(again) == records_of(leader)
    for record in records_of(leader):
        if record.offsets:
            assert again.at_offset(record.offset) == record


def test_a_batch_longer_than_several_segments_goes_in_at_once(
    leader: Log, disk: MemoryDisk
) -> None:
    copy = open_log(disk, NARROW)
    raw = whole(leader)
    assert len(raw) > 2 * NARROW.segment_bytes
    assert copy.copy(raw) == records_of(leader)
    assert records_of(copy) == records_of(leader)


def test_a_copy_goes_on_as_a_log_of_its_own(leader: Log, disk: MemoryDisk) -> None:
    copy = open_log(disk)
    copy.copy(whole(leader))
    copy.sync()
    assert copy.synced_lsn == copy.end_lsn
    more = copy.append([draft(500)])
    copy.sync()
    disk.crash()
    assert records_of(open_log(disk)) == records_of(leader) + more


def test_one_group_is_one_write_and_no_sync(disk: MemoryDisk) -> None:
    raw, _ = group(drafts(0, 10), Point(0, 0, 0, 0), 0)
    copy = open_log(disk)
    disk.calls.clear()
    copy.copy(raw)
    assert disk.calls == ["allocate", "pwrite"]
    assert copy.synced_lsn == 0


def test_nothing_is_written_before_what_a_record_says_was_durable(disk: MemoryDisk) -> None:
    """Two groups in one batch: the second was written when the first was durable, so it is here too."""
    first, point = group(drafts(0, 3), Point(0, 0, 0, 0), 0)
    second, _ = group(drafts(3, 3), point, point.lsn)
    copy = open_log(disk)
    disk.calls.clear()
    copy.copy(first + second)
    assert [call for call in disk.calls if call != "allocate"] == ["pwrite", "fdatasync", "pwrite"]
    assert copy.synced_lsn == point.lsn


def test_a_power_cut_leaves_a_copy_torn_and_never_damaged(leader: Log, disk: MemoryDisk) -> None:
    """Whatever comes through of it, names and writes in any order, is the front of it."""
    raw = whole(leader)[: 35 * RECORD_BYTES]
    copy = open_log(disk, NARROW)

    def check(survivor: MemoryDisk) -> None:
        again = open_log(survivor, NARROW)
        assert again.end_lsn >= copy.synced_lsn
        assert whole(again) == raw[: again.end_lsn]

    tally = Tally()
    with Watch(disk, Random(1), tally, check, None):
        copy.copy(raw)
    assert not tally.violations, tally.violations[:3]
    assert tally.states > 200


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw[:70] + b"\xff" + raw[71:],
        lambda raw: raw[RECORD_BYTES:],
        lambda raw: raw[:RECORD_BYTES] + raw[2 * RECORD_BYTES :],
        lambda raw: bytes(len(raw)),
    ],
)
def test_bytes_that_are_not_the_next_records_are_refused_and_nothing_is_written(
    disk: MemoryDisk, change: object
) -> None:
    assert callable(change)
    raw, _ = group(drafts(0, 4), Point(0, 0, 0, 0), 0)
    copy = open_log(disk)
    disk.calls.clear()
    with pytest.raises(BadCopy, match="cannot continue the log at lsn 0"):
        copy.copy(change(raw))
    assert "pwrite" not in disk.calls
    assert copy.copy(raw) == records_of(copy)


@pytest.mark.parametrize(
    "other",
    [
        {"offset": 9},
        {"position": 9},
        # Its records are of later times than what they would follow here.
        {"ts_ms": 10**6},
    ],
)
def test_records_of_another_history_are_refused(disk: MemoryDisk, other: dict[str, int]) -> None:
    copy = open_log(disk)
    grow(copy, groups=1)
    mine = copy.point(copy.end_lsn)
    if "ts_ms" in other:
        copy.append([Draft(1, 10**7, [b""])])
        mine = replace(copy.point(copy.end_lsn), ts_ms=0)
        other = {}
    raw, _ = group([Draft(1, 5, [b"x"], epoch=9)], replace(mine, **other), 0)
    with pytest.raises(BadCopy):
        copy.copy(raw)
    assert copy.end_lsn == mine.lsn


@pytest.mark.parametrize("reopened", [False, True])
def test_an_epoch_never_falls(disk: MemoryDisk, reopened: bool) -> None:
    copy = open_log(disk)
    copy.append([Draft(1, 0, [b"x"], epoch=4)])
    if reopened:
        # The last record is then found in the segment before.
        copy.reserve(SMALL.group_bytes_max)
        copy.close()
        copy = open_log(disk)
        assert copy.segments()[-1].nbytes == 0
    assert copy.last_epoch() == 4
    here = copy.point(copy.end_lsn)
    older, _ = group([Draft(1, 0, [b"y"], epoch=3)], here, 0)
    with pytest.raises(BadCopy, match="is of epoch 3, but follows 4"):
        copy.copy(older)
    newer, point = group([Draft(1, 0, [b"y"], epoch=4), Draft(1, 0, [], epoch=6)], here, 0)
    falling, _ = group([Draft(1, 0, [b"y"], epoch=5)], point, 0)
    with pytest.raises(BadCopy, match="is of epoch 5, but follows 6"):
        copy.copy(newer + falling)
    assert len(copy.copy(newer)) == 2
    assert copy.last_epoch() == 6


def test_an_empty_log_has_epoch_zero_and_an_empty_copy_changes_nothing(disk: MemoryDisk) -> None:
    copy = open_log(disk)
    assert copy.last_epoch() == 0
    assert copy.copy(b"") == []
    assert copy.end_lsn == 0


def test_a_record_that_fits_into_no_segment_is_refused(disk: MemoryDisk) -> None:
    """The limit for new records does not matter: who wrote it had another one."""
    copy = open_log(disk)
    allowed = Draft(1, 0, [bytes(SMALL.max_record_bytes + 100)])
    raw, point = group([allowed], Point(0, 0, 0, 0), 0)
    copy.copy(raw)
    small, point = group([draft(1)], point, 0)
    large, _ = group([Draft(1, 10**6, [bytes(SMALL.segment_bytes)])], point, 0)
    with pytest.raises(TooLarge, match="does not fit into a segment"):
        copy.copy(small + large)
    assert copy.end_lsn == len(raw)


def test_a_closed_or_read_only_log_takes_nothing(disk: MemoryDisk) -> None:
    copy = open_log(disk)
    copy.close()
    for log in (copy, open_log(disk, writable=False)):
        with pytest.raises(LogClosed):
            log.copy(b"")


# A full disk, and a broken one.


def test_a_full_disk_refuses_the_first_and_ends_a_batch_in_the_middle(leader: Log) -> None:
    """Whatever was written is whole records, and the copy goes on when there is space again."""
    raw, results = whole(leader), set()
    for capacity in range(300, 14_000, 300):
        disk = MemoryDisk(capacity)
        copy = open_log(disk, NARROW)
        taken: list[Record] = []
        try:
            taken = copy.copy(raw)
            results.add("some" if taken[-1].next_lsn < len(raw) else "all")
        except DiskFull:
            results.add("none")
        assert records_of(copy) == taken == records_of(leader)[: len(taken)]
        if copy.end_lsn < len(raw):
            with pytest.raises(DiskFull):
                copy.copy(raw[copy.end_lsn :])
        disk.capacity = 1 << 30
        copy.copy(raw[copy.end_lsn :])
        assert whole(copy) == raw
    assert results == {"none", "some", "all"}


def test_a_copy_may_use_the_space_kept_for_emergencies(leader: Log) -> None:
    raw = leader.raw(0, 500)
    copy = open_log(MemoryDisk(SMALL.disk_reserve_bytes))
    assert not copy.has_space()
    with pytest.raises(DiskFull):
        copy.reserve(len(raw))
    assert copy.copy(raw)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("power_cut", [False, True])
def test_an_error_at_any_call_ends_the_log_and_leaves_the_front_of_the_copy(
    leader: Log, code: int, power_cut: bool
) -> None:
    raw = whole(leader)[: 35 * RECORD_BYTES]
    for n in range(1, 1000):
        disk = MemoryDisk()
        copy = open_log(disk, NARROW)
        disk.fail_at(n, code)
        try:
            copy.copy(raw)
            failed = copy.end_lsn < len(raw)
        except (LogFailed, DiskFull):
            failed = True
        if not failed:
            assert n > 20
            return
        synced = copy.synced_lsn
        if power_cut:
            disk.crash()
        again = open_log(disk, NARROW)
        assert again.end_lsn >= synced
        assert whole(again) == raw[: again.end_lsn]
    raise AssertionError("copying never ends")

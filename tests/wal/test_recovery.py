"""The decision about the end of a log: every row of the table, and real logs that lead to them."""

from __future__ import annotations

from itertools import product

import pytest

from chronosdb.wal import Log, LogDamaged, Recovery
from chronosdb.wal.recovery import VERDICTS, Behind, Ending, Verdict
from tests.support.memory_disk import MemoryDisk
from tests.wal.logs import DIRECTORY, grow, one_event, open_log, records_of

PATH = f"{DIRECTORY}/{0:020d}.log"


def test_the_table_has_exactly_one_row_for_every_case() -> None:
    assert set(VERDICTS) == set(product((False, True), Behind))


@pytest.mark.parametrize("behind", list(Behind))
def test_what_is_known_to_have_been_durable_is_never_cut(behind: Behind) -> None:
    assert VERDICTS[True, behind] is Verdict.DAMAGED


@pytest.mark.parametrize(
    ("behind", "verdict"),
    [
        (Behind.NOTHING, Verdict.CLEAN),
        (Behind.RUBBISH, Verdict.TORN),
        (Behind.UNSYNCED, Verdict.TORN),
        (Behind.WITNESS, Verdict.DAMAGED),
        (Behind.MISFIT, Verdict.DAMAGED),
    ],
)
def test_without_that_knowledge_what_lies_behind_decides(behind: Behind, verdict: Verdict) -> None:
    assert VERDICTS[False, behind] is verdict


def test_durable_up_to_the_end_is_not_durable_beyond_it() -> None:
    ending = Ending(100, Behind.NOTHING, 100, "the file ends")
    assert ending.verdict(100) is Verdict.CLEAN
    assert ending.damage(100) is None
    assert ending.verdict(101) is Verdict.DAMAGED
    assert ending.damage(101) == (
        "at lsn 100: the file ends; behind it: nothing: the file ends, or only zeros follow; "
        "it was durable up to lsn 101"
    )


def test_a_report_reads_as_a_sentence() -> None:
    clean = Recovery("/log", 2, 0, 500, 17, ())
    assert str(clean) == "log /log: 2 segments, lsn 0 to 500, 17 torn bytes at its end"
    damaged = str(Recovery("/log", 2, 0, 500, 0, ("at lsn 500: bad",)))
    assert "DAMAGED, nothing was changed:\n  at lsn 500: bad\n" in damaged


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def log(disk: MemoryDisk) -> Log:
    """Three synced groups of one record each; 84 bytes a record."""
    log = open_log(disk)
    grow(log, groups=3, per_group=1)
    return log


def test_clean(disk: MemoryDisk, log: Log) -> None:
    """Only zeros of allocated space follow the last record."""
    records = records_of(log)
    disk.crash()
    again = open_log(disk)
    assert again.recovery.torn_bytes == 0
    assert records_of(again) == records
    assert again.synced_lsn == again.end_lsn


def test_torn_because_rubbish_follows(disk: MemoryDisk, log: Log) -> None:
    """Bytes that are no record were never acknowledged: they are cut, and counted."""
    end = log.end_lsn
    disk.crash()
    disk.resize(PATH, 64 + end + 100)
    disk.damage(PATH, 64 + end + 10, b"rubbish")
    again = open_log(disk)
    assert again.end_lsn == end
    assert again.recovery.torn_bytes == 17
    assert disk.size(PATH) == 64 + end
    again.close()
    assert open_log(disk).recovery.torn_bytes == 0


def test_torn_although_later_records_of_the_group_survived(disk: MemoryDisk, log: Log) -> None:
    """Sectors reach the disk in any order: a later record that was never synced proves nothing."""
    grow(log, groups=1, per_group=3)
    first = records_of(log)[3]
    disk.crash()
    disk.damage(PATH, 64 + first.lsn, bytes(30))
    again = open_log(disk)
    assert again.end_lsn == first.lsn
    assert again.recovery.torn_bytes == 3 * 84


def test_torn_when_two_groups_were_written_between_two_syncs(disk: MemoryDisk, log: Log) -> None:
    """With periodic sync the second group must not testify for the first."""
    end = log.end_lsn
    first = log.append([one_event()])
    log.append([one_event()])
    log.sync()
    disk.crash()
    disk.damage(PATH, 64 + first[0].lsn + 70, b"\xff")
    assert open_log(disk).end_lsn == end


def test_damaged_because_a_later_group_testifies(disk: MemoryDisk, log: Log) -> None:
    """The third group was written after the second was synced: the second was durable."""
    records = records_of(log)
    disk.crash()
    disk.damage(PATH, 64 + records[1].lsn + 70, b"\xff")
    before = disk.read_file(PATH)
    with pytest.raises(LogDamaged, match="at lsn 84: its checksum does not match") as caught:
        open_log(disk)
    assert Behind.WITNESS.value in caught.value.recovery.damage[0]
    assert disk.read_file(PATH) == before


def test_damaged_even_if_the_bad_record_reads_as_empty_space(disk: MemoryDisk, log: Log) -> None:
    """A lost page full of zeros looks like the end of the log, but is not."""
    records = records_of(log)
    disk.crash()
    disk.damage(PATH, 64 + records[1].lsn, bytes(84))
    with pytest.raises(LogDamaged, match="nothing is written here"):
        open_log(disk)


def test_damaged_because_the_caller_knows(disk: MemoryDisk, log: Log) -> None:
    """The last group has no witness in the log; the views may know that it was durable."""
    last = records_of(log)[-1]
    disk.crash()
    disk.damage(PATH, 64 + last.lsn + 70, b"\xff")
    with pytest.raises(LogDamaged, match=f"durable up to lsn {last.next_lsn}"):
        open_log(disk, durable_lsn=last.next_lsn)
    assert open_log(disk).end_lsn == last.lsn


def test_damaged_because_the_last_close_said_so(disk: MemoryDisk, log: Log) -> None:
    """A clean close notes how far the log is durable: then even the last record has a witness."""
    last = records_of(log)[-1]
    log.close()
    disk.damage(PATH, 64 + last.lsn + 70, b"\xff")
    with pytest.raises(LogDamaged, match=f"durable up to lsn {last.next_lsn}"):
        open_log(disk)


def test_damaged_because_the_file_became_shorter(disk: MemoryDisk, log: Log) -> None:
    end = log.end_lsn
    log.close()
    disk.resize(PATH, 64 + end - 1)
    with pytest.raises(LogDamaged, match="only 83 bytes are left"):
        open_log(disk)


def test_damaged_because_a_whole_record_does_not_continue_the_log(
    disk: MemoryDisk, log: Log
) -> None:
    """Valid bytes in the right place with the wrong numbers: no crash does that."""
    records = records_of(log)
    image = disk.read_file(PATH)
    other = MemoryDisk()
    foreign = open_log(other)
    foreign.append([one_event(offsets=5) for _ in range(3)])
    foreign.sync()
    wrong = other.read_file(PATH)[64 + 84 : 64 + 168]
    disk.crash()
    assert len(wrong) == records[1].next_lsn - records[1].lsn
    assert wrong != image[64 + 84 : 64 + 168]
    disk.damage(PATH, 64 + 84, wrong)
    with pytest.raises(LogDamaged, match="its offset is 5, but the record before ends at"):
        open_log(disk)


def test_a_damaged_log_opens_read_only_and_shows_what_is_left(disk: MemoryDisk, log: Log) -> None:
    records = records_of(log)
    disk.crash()
    disk.damage(PATH, 64 + records[1].lsn + 70, b"\xff")
    before = disk.copy()
    again = open_log(disk, writable=False)
    assert again.recovery.damage
    assert records_of(again) == records[:1]
    again.close()
    assert disk.listdir(DIRECTORY) == before.listdir(DIRECTORY)
    assert disk.read_file(PATH) == before.read_file(PATH)

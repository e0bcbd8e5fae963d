"""The durable log: every crash state, truncation that loses nothing, atomic compaction."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chronosdb.raft.errors import MetadataFailedError, StorageDamagedError
from chronosdb.raft.journal import Journal
from chronosdb.raft.record import Entry, encode_group, journal_image, scan
from chronosdb.testing.memory_disk import MemoryDisk
from tests.raft.fake_storage import MemoryStorage, PowerCutError


def _entry(index: int, term: int = 1, size: int = 5) -> Entry:
    return Entry(bytes([index % 256]) * size, index, term)


def _journal(storage: MemoryStorage, entries: range | list[int] = range(1, 4)) -> Journal:
    journal = Journal.create(storage, "j")
    for index in entries:
        journal.append(_entry(index))
    journal.sync()
    return journal


def _indices(storage: MemoryStorage) -> list[int]:
    return [e.idx for e in Journal.open(storage, "j").entries]


def test_synced_entries_survive_a_power_cut_and_others_do_not() -> None:
    """`sync` is the promise, `append` is not."""
    storage = MemoryStorage()
    journal = _journal(storage)
    journal.append(_entry(4))
    assert _indices(storage.after_power_cut()) == [1, 2, 3]
    journal.sync()
    assert _indices(storage.after_power_cut()) == [1, 2, 3, 4]


def test_a_group_torn_at_any_byte_leaves_a_prefix() -> None:
    """And the journal goes on from there."""
    base = _journal(MemoryStorage())
    records, end = encode_group([_entry(4), _entry(5)], base._end)
    for landed in range(end - base._end + 1):
        storage = MemoryStorage(fail_at=5, landed=landed)  # two calls each to create and to fill
        journal = _journal(storage)
        journal.append(_entry(4))
        journal.append(_entry(5))
        with pytest.raises(PowerCutError):
            journal.sync()
        survivor = storage.after_power_cut()
        reopened = Journal.open(survivor, "j")
        whole = 3 + (landed >= len(records[0])) + (landed == sum(map(len, records)))
        assert reopened.last_index == whole
        reopened.append(_entry(whole + 1))
        reopened.sync()
        assert _indices(survivor.after_power_cut())[-1] == whole + 1


def test_a_group_whose_first_page_was_lost_is_a_torn_tail() -> None:
    """Pages reach the disk in any order; what was never synced proves nothing."""
    storage = MemoryStorage()
    journal = _journal(storage)
    end = journal._end
    for index in (4, 5):
        journal.append(_entry(index))
    journal.sync()
    data = storage.files["j"].cached
    storage.files["j"].cached = data[:end] + bytes(20) + data[end + 20 :]
    assert _indices(storage) == [1, 2, 3]


def test_damage_before_a_later_sync_is_an_error_at_every_byte() -> None:
    """I14: a later group proves that the earlier one was durable, so it is not torn."""
    storage = MemoryStorage()
    journal = _journal(storage)
    end = journal._end
    journal.append(_entry(4))
    journal.sync()
    data = storage.files["j"].cached
    for position in range(end):
        storage.files["j"].cached = (
            data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        )
        with pytest.raises(StorageDamagedError):
            Journal.open(storage, "j")
    assert storage.files["j"].durable == data  # nothing was cut


def test_damage_in_a_compacted_file_is_an_error_also_at_its_end() -> None:
    """The file was written whole: no part of it can be torn."""
    image = journal_image([_entry(7), _entry(8)])
    for length in range(len(image)):
        with pytest.raises(StorageDamagedError):
            scan(image[:length], "j")
    assert scan(image, "j").end == len(image)


def test_a_record_moved_elsewhere_is_not_taken_for_a_good_one() -> None:
    """The checksum is seeded with the position."""
    image = journal_image([_entry(1)])
    record = image[24:]
    assert scan(image + record, "j").entries == [_entry(1)]


def test_a_command_that_looks_like_a_record_is_only_a_command() -> None:
    """Neither in good bytes nor behind a torn place."""
    inner = b"".join(encode_group([_entry(9)], 5_000)[0])
    image = journal_image([Entry(inner, 1, 1)])
    assert scan(image, "j").entries == [Entry(inner, 1, 1)]
    torn = journal_image([]) + image[24:-1]
    assert scan(torn, "j").entries == []


@pytest.mark.parametrize("index", [1, 5, 100])
def test_a_gap_in_the_indices_is_damage(index: int) -> None:
    """Good bytes in an impossible order."""
    image = journal_image([_entry(2), _entry(3)])
    records, _ = encode_group([_entry(index)], len(image))
    with pytest.raises(StorageDamagedError, match="does not follow"):
        scan(image + records[0], "j")


def test_truncated_entries_added_again_were_never_gone() -> None:
    """PySyncObj does that to committed entries: a crash at any point must find all of them."""
    storage = MemoryStorage()
    journal = _journal(storage, range(1, 8))
    size = len(storage.files["j"].durable)
    journal.truncate_from(2)
    journal.truncate_from(1)
    assert journal.last_index == 1
    for index in (2, 3, 4):
        journal.append(_entry(index))
        journal.sync()
        assert _indices(storage.after_power_cut()) == [1, 2, 3, 4, 5, 6, 7]
    assert len(storage.files["j"].durable) == size


def test_a_conflicting_entry_replaces_all_that_follow_in_one_write() -> None:
    """Truncation and append cannot be torn apart."""
    storage = MemoryStorage()
    journal = _journal(storage, range(1, 6))
    journal.truncate_from(2)
    journal.append(_entry(3, term=2))
    assert _indices(storage.after_power_cut()) == [1, 2, 3, 4, 5]
    journal.sync()
    reopened = Journal.open(storage.after_power_cut(), "j")
    assert [(e.idx, e.term) for e in reopened.entries] == [(1, 1), (2, 1), (3, 2)]


def test_compaction_keeps_what_was_truncated_and_may_come_back() -> None:
    """The rewritten file must hold no less than the old one."""
    storage = MemoryStorage()
    journal = _journal(storage, range(1, 8))
    journal.truncate_from(5)
    journal.drop_before(2)
    journal.sync()
    assert _indices(storage.after_power_cut()) == [3, 4, 5, 6, 7]


def test_compaction_is_atomic() -> None:
    """Old file or new file, whenever the power goes."""
    for landed, expected in ((0, [1, 2, 3]), (1, [2, 3])):
        storage = MemoryStorage(fail_at=5, landed=landed)
        journal = _journal(storage)
        journal.drop_before(1)
        with pytest.raises(PowerCutError):
            journal.sync()
        assert _indices(storage.after_power_cut()) == expected


def test_it_aligns_with_its_snapshot() -> None:
    """Entries behind the snapshot are kept; a journal that cannot be aligned is damaged or old."""
    storage = MemoryStorage()
    journal = _journal(storage, range(1, 8))
    journal.align(_entry(3), _entry(4))
    assert _indices(storage.after_power_cut()) == [3, 4, 5, 6, 7]
    assert journal.committed_floor == 4
    with pytest.raises(StorageDamagedError, match="after its snapshot"):
        journal.align(_entry(1), _entry(2))
    journal.align(_entry(20), _entry(21))
    assert _indices(storage.after_power_cut()) == [20, 21]


def test_a_snapshot_of_another_term_replaces_the_journal() -> None:
    """What disagrees with a snapshot was never committed."""
    storage = MemoryStorage()
    journal = _journal(storage, range(1, 8))
    journal.align(_entry(3), _entry(4, term=2))
    assert [(e.idx, e.term) for e in Journal.open(storage, "j").entries] == [(3, 1), (4, 2)]


def test_after_a_failed_sync_it_refuses_everything() -> None:
    """I15: a second fsync can lie."""
    journal = _journal(MemoryStorage(fail_at=5))
    journal.append(_entry(4))
    with pytest.raises(PowerCutError):
        journal.sync()
    for call in (journal.sync, lambda: journal.append(_entry(5))):
        with pytest.raises(MetadataFailedError):
            call()


def test_close_writes_nothing() -> None:
    """Its owner may be closing it because the disk is full: a second error would hide the first."""
    storage = MemoryStorage()
    journal = _journal(storage, range(1, 4))
    calls = storage.calls
    journal.append(_entry(4))
    journal.close()
    assert storage.calls == calls
    assert Journal.open(storage, "j").last_index == 3


def test_a_sync_that_failed_is_made_good_by_the_next_start() -> None:
    """The kernel takes the bytes for clean, keeps them for a while, and a sync alone would pass over them."""
    disk = MemoryDisk()
    disk.mkdir("d")
    journal = Journal.create(disk, "d/j")
    journal.append(_entry(1))
    journal.sync()
    journal.append(_entry(2))
    disk.fail_at(2)  # the write before succeeds
    with pytest.raises(OSError, match="Input/output"):
        journal.sync()
    journal.close()
    reopened = Journal.open(disk, "d/j")
    assert reopened.last_index == 2
    reopened.append(_entry(3))
    reopened.sync()
    disk.crash()
    assert [e.idx for e in Journal.open(disk, "d/j").entries] == [1, 2, 3]


def test_another_format_version_is_refused() -> None:
    """With both versions named."""
    rest = struct.pack("<IQ", 9, 24)
    with pytest.raises(StorageDamagedError, match="format 9, this version reads 1"):
        scan(b"CHRONJRN" + struct.pack("<I", crc32(rest)) + rest, "j")


class JournalModel(RuleBasedStateMachine):
    """The journal against a list, through crashes at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStorage()
        self.journal = Journal.create(self.storage, "j")
        self.synced: list[Entry] = []
        self.model: list[Entry] = []
        self.term = 1

    @rule(count=st.integers(1, 4), size=st.integers(1, 60))
    def append(self, count: int, size: int) -> None:
        for _ in range(count):
            entry = _entry(self.model[-1].idx + 1 if self.model else 1, self.term, size)
            self.model.append(entry)
            self.journal.append(entry)

    @precondition(lambda self: len(self.model) > 2)
    @rule(data=st.data(), same=st.booleans())
    def replace(self, data: st.DataObject, same: bool) -> None:
        """Truncate, and add the same entries again or one of a later term."""
        at = data.draw(st.integers(1, len(self.model) - 1))
        again = self.model[at:]
        self.journal.truncate_from(at)
        del self.model[at:]
        if not same:
            self.term += 1
            again = [_entry(self.model[-1].idx + 1, self.term)]
        for entry in again:
            self.model.append(entry)
            self.journal.append(entry)

    @precondition(lambda self: len(self.model) > 1)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.model) - 1))
        self.journal.drop_before(at)
        del self.model[:at]

    @rule()
    def sync(self) -> None:
        self.journal.sync()
        self.synced = list(self.model)

    @rule(power=st.booleans())
    def crash(self, power: bool) -> None:
        self.storage = self.storage.after_power_cut() if power else self.storage.after_kill()
        self.journal = Journal.open(self.storage, "j")
        assert self.journal.entries == self.synced
        self.model = list(self.synced)

    @invariant()
    def agrees(self) -> None:
        assert self.journal.entries == self.model


JournalModel.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestJournalModel = JournalModel.TestCase

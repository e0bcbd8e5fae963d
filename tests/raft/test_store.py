"""The three files of a metadata directory, and the bytes FORMAT.md shows."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from chronosdb.raft.ballot import MAGIC as BALLOT_MAGIC
from chronosdb.raft.ballot import Ballot
from chronosdb.raft.errors import StorageDamagedError
from chronosdb.raft.record import Entry, journal_image
from chronosdb.raft.sealed import seal, unseal
from chronosdb.raft.snapshot import Snapshot, decode_snapshot, encode_snapshot
from chronosdb.raft.store import Store
from tests.raft.fake_storage import MemoryStorage

SNAPSHOT = Snapshot([1], Entry(b"\x01", 2, 1), Entry(b"\x01", 1, 0), ("n1",))


def _full() -> MemoryStorage:
    storage = MemoryStorage()
    store = Store.open(storage, "d")
    store.snapshots.save(SNAPSHOT)
    return storage


@pytest.mark.parametrize("present", list(product([False, True], repeat=3)))
def test_what_is_found_decides(present: tuple[bool, bool, bool]) -> None:
    """Every row of the table in store.py."""
    storage = _full()
    for name, there in zip(("ballot", "journal", "snapshot"), present, strict=True):
        if not there:
            del storage.files[f"d/{name}"]
    opens = {(False, False, False), (True, False, False), (True, True, False), (True, True, True)}
    if present in opens:
        store = Store.open(storage, "d")
        assert (store.recovered == SNAPSHOT) == present[2]
        assert "d/journal" in storage.files
    else:
        before = dict(storage.files)
        with pytest.raises(StorageDamagedError, match="found only"):
            Store.open(storage, "d")
        assert storage.files == before


def test_a_vote_is_remembered() -> None:
    """Also over a power cut, and it cannot be changed within its term."""
    storage = MemoryStorage()
    ballot = Ballot.create(storage, "b")
    ballot.record(3, "n2")
    again = Ballot.open(storage.after_power_cut(), "b")
    assert (again.term, again.voted_for) == (3, "n2")
    for term, vote in ((3, "n1"), (2, None)):
        with pytest.raises(AssertionError):
            ballot.record(term, vote)


def test_a_vote_that_did_not_reach_the_disk_was_not_given() -> None:
    """The caller hears of the error before it can tell anybody of the vote."""
    storage = MemoryStorage(fail_at=2)
    ballot = Ballot.create(storage, "b")
    with pytest.raises(OSError, match="b"):
        ballot.record(3, "n2")
    assert ballot.term == 0


def test_a_snapshot_reads_back() -> None:
    """Entries come back as such, which the library insists on."""
    assert decode_snapshot(encode_snapshot(SNAPSHOT), "s") == SNAPSHOT


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x90", b"\x94\x01\x02\x03\x04"])
def test_a_sealed_file_with_something_else_inside_is_damaged(payload: bytes) -> None:
    """The checksum is right and the content is not: still an error, never an empty state."""
    with pytest.raises(StorageDamagedError, match="not a snapshot"):
        decode_snapshot(seal(b"CHRONSNP", 1, payload), "s")


def test_unsealing_names_file_and_fault() -> None:
    """Wrong kind, wrong version, cut short."""
    image = seal(b"CHRONBAL", 1, b"payload")
    assert unseal(b"CHRONBAL", 1, image, "b") == b"payload"
    for data, fault in ((image[:10], "too short"), (image[:-1], "checksum"), (b"", "too short")):
        with pytest.raises(StorageDamagedError, match=f"b: .*{fault}"):
            unseal(b"CHRONBAL", 1, data, "b")
    with pytest.raises(StorageDamagedError, match="not a file of this kind"):
        unseal(b"CHRONSNP", 1, image, "b")
    with pytest.raises(StorageDamagedError, match="format 1, this version reads 2"):
        unseal(b"CHRONBAL", 2, image, "b")


def test_the_worked_examples_of_the_format_document_are_true() -> None:
    """FORMAT.md shows a ballot and a journal in hex; they are what the code writes."""
    text = (Path(__file__).parents[2] / "raft" / "FORMAT.md").read_text()
    blocks = re.findall(r"```hex\n(.*?)```", text, re.DOTALL)
    shown = [bytes.fromhex(re.sub(r"#.*", "", block)) for block in blocks]
    assert shown == [
        seal(BALLOT_MAGIC, 1, bytes.fromhex("9203a26e31")),
        journal_image([Entry(b"\x01", 1, 0), Entry(b"\x01", 2, 3)]),
    ]

"""The metadata directory: ballot, journal and snapshot, opened together or not at all.

What is found decides, and no file is ever made up for one that is missing:

    ballot  journal  snapshot
    no      no       no        a new node: ballot first, then journal
    yes     no       no        a new node that crashed between the two
    yes     yes      any       an old node
    otherwise                  damaged: a file was removed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from chronosdb.raft.ballot import Ballot
from chronosdb.raft.errors import StorageDamagedError
from chronosdb.raft.journal import Journal
from chronosdb.raft.snapshot import Snapshot, SnapshotFile
from chronosdb.raft.storage import Storage


@dataclass(slots=True)
class Store:
    """The open files of one node's metadata."""

    ballot: Ballot
    journal: Journal
    snapshots: SnapshotFile
    #: What the snapshot held at opening. Invariant: the journal begins with its two entries.
    recovered: Snapshot | None

    @classmethod
    def open(cls, storage: Storage, directory: str) -> Self:
        """Open or create; `directory` must exist. Raises StorageDamagedError, or OSError."""
        ballot_path, journal_path = f"{directory}/ballot", f"{directory}/journal"
        snapshots = SnapshotFile(storage, f"{directory}/snapshot")
        found = (storage.exists(ballot_path), storage.exists(journal_path), snapshots.exists())
        match found:
            case (False, False, False):
                ballot = Ballot.create(storage, ballot_path)
                journal = Journal.create(storage, journal_path)
            case (True, False, False):
                ballot = Ballot.open(storage, ballot_path)
                journal = Journal.create(storage, journal_path)
            case (True, True, _):
                ballot = Ballot.open(storage, ballot_path)
                journal = Journal.open(storage, journal_path)
            case _:
                raise StorageDamagedError(_what_is_missing(directory, found))
        try:
            recovered = _recover(journal, snapshots)
        except BaseException:
            journal.close()
            raise
        return cls(ballot, journal, snapshots, recovered)


def _recover(journal: Journal, snapshots: SnapshotFile) -> Snapshot | None:
    if snapshots.exists():
        recovered = snapshots.load()
        journal.align(recovered.older, recovered.newest)
        return recovered
    if journal.entries and journal.first_index != 1:
        raise StorageDamagedError(
            f"{snapshots.path} is missing, and the journal begins at {journal.first_index}"
        )
    return None


def _what_is_missing(directory: str, found: tuple[bool, bool, bool]) -> str:
    names = ("ballot", "journal", "snapshot")
    there = [name for name, exists in zip(names, found, strict=True) if exists]
    return (
        f"{directory}: found only {', '.join(there)}; a node that lost one of its metadata files"
        " must not vote again: restore the directory, or start anew under another node id"
    )

"""The term and the vote: the two facts a voter must never forget, or one term gets two leaders."""

from __future__ import annotations

from typing import Self

import msgpack

from chronosdb.raft.errors import StorageDamagedError
from chronosdb.raft.sealed import seal, unseal
from chronosdb.raft.storage import Storage

MAGIC = b"CHRONBAL"
VERSION = 1


class Ballot:
    """The durable (term, voted_for). Reading is free; every change is on disk before it returns."""

    def __init__(self, storage: Storage, path: str, term: int, voted_for: str | None) -> None:
        self._storage = storage
        self._path = path
        #: Invariant: never goes back.
        self.term = term
        #: Whom this node voted for in `term`, if anyone.
        self.voted_for = voted_for

    @classmethod
    def create(cls, storage: Storage, path: str) -> Self:
        """The first ballot of a new node."""
        ballot = cls(storage, path, 0, None)
        ballot.record(0, None)
        return ballot

    @classmethod
    def open(cls, storage: Storage, path: str) -> Self:
        """Read it back; raises StorageDamagedError."""
        payload = unseal(MAGIC, VERSION, storage.read_file(path), path)
        try:
            plain = msgpack.unpackb(payload)
        except (ValueError, TypeError) as error:  # msgpack's own errors all derive from these
            raise StorageDamagedError(f"{path}: not a ballot inside") from error
        match plain:
            case [int(term), None | str() as voted_for]:
                return cls(storage, path, term, voted_for)
            case _:
                raise StorageDamagedError(f"{path}: not a ballot inside")

    def record(self, term: int, voted_for: str | None) -> None:
        """Make the new term and vote durable. Within a term a vote is for good."""
        assert term >= self.term, (term, self.term)
        assert term > self.term or self.voted_for in {None, voted_for}, (self.voted_for, voted_for)
        self._storage.write_file_atomic(
            self._path, seal(MAGIC, VERSION, msgpack.packb([term, voted_for]))
        )
        self.term, self.voted_for = term, voted_for

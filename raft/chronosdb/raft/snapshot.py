"""Snapshots of the state machine: the file that makes an old journal superfluous."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from chronosdb.raft.errors import StorageDamagedError
from chronosdb.raft.limits import SNAPSHOT_BYTES_MAX
from chronosdb.raft.record import Entry
from chronosdb.raft.sealed import seal, unseal
from chronosdb.raft.storage import Storage

MAGIC = b"CHRONSNP"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state as of `newest`, with the entry before it: PySyncObj's log begins with the two."""

    state: list[Any]
    newest: Entry
    older: Entry
    voters: tuple[str, ...]


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The bytes of a snapshot file."""
    assert snapshot.newest.idx == snapshot.older.idx + 1, snapshot
    plain = [snapshot.state, snapshot.newest, snapshot.older, snapshot.voters]
    image = seal(MAGIC, VERSION, msgpack.packb(plain))
    assert len(image) <= SNAPSHOT_BYTES_MAX, len(image)
    return image


def decode_snapshot(image: bytes, path: str) -> Snapshot:
    """Inverse of `encode_snapshot`; raises StorageDamagedError."""
    payload = unseal(MAGIC, VERSION, image, path)
    try:
        state, newest, older, voters = msgpack.unpackb(payload)
        return Snapshot(state, Entry(*newest), Entry(*older), tuple(voters))
    except (ValueError, TypeError) as error:
        raise StorageDamagedError(f"{path}: not a snapshot inside") from error


class SnapshotFile:
    """The one snapshot a node keeps, replaced atomically and durably."""

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage = storage
        self.path = path

    def exists(self) -> bool:
        """Whether one was ever saved."""
        return self._storage.exists(self.path)

    def load(self) -> Snapshot:
        """Read it back; raises StorageDamagedError rather than give an empty or wrong state."""
        return decode_snapshot(self.image(), self.path)

    def image(self) -> bytes:
        """The file as it is, for a follower that needs it."""
        return self._storage.read_file(self.path)

    def save(self, snapshot: Snapshot) -> None:
        """Keep this one from now on."""
        self._storage.write_file_atomic(self.path, encode_snapshot(snapshot))

    def install(self, image: bytes) -> None:
        """Keep the one a leader sent, which is whole."""
        self._storage.write_file_atomic(self.path, image)

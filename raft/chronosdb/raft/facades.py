# ruff: noqa: ARG002, D102, N802, N803 - names, arguments and meanings are PySyncObj's
"""Our journal and snapshots under the names by which PySyncObj calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from chronosdb.raft.ballot import Ballot
from chronosdb.raft.errors import BadMessageError
from chronosdb.raft.journal import Journal
from chronosdb.raft.limits import SNAPSHOT_BYTES_MAX
from chronosdb.raft.record import Entry
from chronosdb.raft.snapshot import Snapshot, SnapshotFile

#: pysyncobj.config.SERIALIZER_STATE
NOT_SERIALIZING = 0
SERIALIZED = 2

_CHUNK_BYTES = 256 * 1024


class JournalFacade:
    """`pysyncobj.journal.Journal` over a Journal and a Ballot."""

    def __init__(self, journal: Journal, ballot: Ballot) -> None:
        self._journal = journal
        self._ballot = ballot

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | list[Entry]:
        return self._journal.entries[item]

    def __len__(self) -> int:
        return len(self._journal.entries)

    def add(self, command: bytes, idx: int, term: int) -> None:
        self._journal.append(Entry(command, idx, term))

    def clear(self) -> None:
        self._journal.clear()

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        self._journal.truncate_from(entryFrom)

    def deleteEntriesTo(self, entryTo: int) -> None:
        self._journal.drop_before(entryTo)

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        """Called after the index moved and before anything up to it is applied.

        So this is where "durable before committed" is enforced. The index itself is not kept: it
        is volatile in Raft, and a leader tells it again.
        """
        self._journal.sync()

    def getRaftCommitIndex(self) -> int:
        return self._journal.committed_floor

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        self._ballot.record(term, votedForNodeId)

    def getCurrentTerm(self) -> int:
        return self._ballot.term

    def getVotedForNodeId(self) -> str | None:
        return self._ballot.voted_for

    def onOneSecondTimer(self) -> None:
        """Nothing is written behind anyone's back."""


class SnapshotFacade:
    """`pysyncobj.serializer.Serializer` over a SnapshotFile: synchronous, no fork, no pickle."""

    def __init__(
        self,
        snapshots: SnapshotFile,
        dump: Callable[[], list[Any]],
        restore: Callable[[list[Any]], None],
    ) -> None:
        self._snapshots = snapshots
        self._dump = dump
        self._restore = restore
        self._saved_at: int | None = None
        self._outgoing: dict[Any, memoryview] = {}
        self._incoming: bytearray | None = None
        #: PySyncObj swallows what `deserialize` raises and goes on empty; its driver must look here.
        self.failure: BaseException | None = None

    def serialize(self, data: tuple[Any, Any, Any, Any], entry_id: int) -> None:
        _, newest, older, cluster = data
        voters = tuple(sorted(node.id for node in cluster))
        self._snapshots.save(Snapshot(self._dump(), Entry(*newest), Entry(*older), voters))
        self._saved_at = entry_id

    def checkSerializing(self) -> tuple[int, int | None]:
        saved_at, self._saved_at = self._saved_at, None
        return (NOT_SERIALIZING if saved_at is None else SERIALIZED), saved_at

    def deserialize(self) -> tuple[None, Entry, Entry, tuple[()]]:
        """Take over the installed snapshot. Its members are not read: membership is fixed."""
        try:
            snapshot = self._snapshots.load()
            self._restore(snapshot.state)
        except BaseException as error:
            self.failure = error
            raise
        return None, snapshot.newest, snapshot.older, ()

    def getTransmissionData(self, transmissionID: Any) -> tuple[bytes, bool, bool] | None:
        """The next (chunk, is_first, is_last) of the snapshot for one follower."""
        rest = self._outgoing.pop(transmissionID, None)
        is_first = rest is None
        if rest is None:
            if not self._snapshots.exists():
                return None
            rest = memoryview(self._snapshots.image())
        chunk, rest = bytes(rest[:_CHUNK_BYTES]), rest[_CHUNK_BYTES:]
        if rest:
            self._outgoing[transmissionID] = rest
        return chunk, is_first, not rest

    def setTransmissionData(self, data: tuple[bytes, bool, bool] | None) -> bool:
        """Gather chunks from the leader; True once a whole snapshot is in place of ours."""
        if data is None:
            return False
        chunk, is_first, is_last = data
        if is_first:
            self._incoming = bytearray()
        if self._incoming is None:
            return False
        if len(self._incoming) + len(chunk) > SNAPSHOT_BYTES_MAX:
            raise BadMessageError(f"a snapshot over {SNAPSHOT_BYTES_MAX} bytes")
        self._incoming += chunk
        if not is_last:
            return False
        image, self._incoming = bytes(self._incoming), None
        self._snapshots.install(image)
        return True

    def cancelTransmisstion(self, transmissionID: Any) -> None:
        self._outgoing.pop(transmissionID, None)

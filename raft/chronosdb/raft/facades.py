# ruff: noqa: ARG002, D102, N802, N803 - names, arguments and meanings are PySyncObj's
"""Our journal and snapshots under the names by which PySyncObj calls them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, overload

from chronosdb.raft.ballot import Ballot
from chronosdb.raft.errors import BadMessageError, StorageDamagedError
from chronosdb.raft.journal import Journal
from chronosdb.raft.limits import SNAPSHOT_BYTES_MAX
from chronosdb.raft.membership import Membership
from chronosdb.raft.record import Entry
from chronosdb.raft.snapshot import Snapshot, SnapshotFile, decode_snapshot
from chronosdb.raft.state import ClusterState
from chronosdb.raft.voters import Voters

_log = logging.getLogger(__name__)

#: pysyncobj.config.SERIALIZER_STATE
NOT_SERIALIZING = 0
SERIALIZED = 2

_CHUNK_BYTES = 256 * 1024


class JournalFacade:
    """`pysyncobj.journal.Journal` over a Journal and a Ballot; Membership hears of each change."""

    def __init__(self, journal: Journal, ballot: Ballot, membership: Membership) -> None:
        self._journal = journal
        self._ballot = ballot
        self._membership = membership

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | list[Entry]:
        return self._journal.entries[item]

    def __len__(self) -> int:
        return len(self._journal.entries)

    def add(self, command: bytes, idx: int, term: int) -> None:
        entry = Entry(command, idx, term)
        self._journal.append(entry)
        self._membership.append(entry)

    def clear(self) -> None:
        """Called when a snapshot was installed, which told Membership the voters already."""
        self._journal.clear()

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        if entryFrom < len(self):
            self._membership.truncate_from(self._journal.entries[entryFrom].idx)
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
        journal: Journal,
        state: ClusterState,
        membership: Membership,
        has_room: Callable[[str], bool],
    ) -> None:
        self._snapshots = snapshots
        self._journal = journal
        self._state = state
        self._membership = membership
        self._has_room = has_room
        self._saved_at: int | None = None
        #: By follower: the image it is being sent, and how far it has been.
        self._outgoing: dict[str, tuple[memoryview, int]] = {}
        self._incoming: bytearray | None = None
        #: PySyncObj swallows what `deserialize` raises and goes on empty; its driver must look here.
        self.failure: BaseException | None = None

    def serialize(self, data: tuple[Any, Any, Any, Any], entry_id: int) -> None:
        # Not the members that the library knows: those may come from an entry behind `newest`.
        _, newest, older, _ = data
        voters = self._membership.as_of(newest[1]).names
        state = self._state.to_plain()
        self._snapshots.save(Snapshot(state, Entry(*newest), Entry(*older), voters))
        self._saved_at = entry_id

    def checkSerializing(self) -> tuple[int, int | None]:
        saved_at, self._saved_at = self._saved_at, None
        return (NOT_SERIALIZING if saved_at is None else SERIALIZED), saved_at

    def deserialize(self) -> tuple[None, Entry, Entry, tuple[()]]:
        """Take over the installed snapshot. The library does not see its members: we set those."""
        try:
            snapshot = self._snapshots.load()
            self._state.restore(snapshot.state)
            self._membership.restart(Voters(self._state.view.voters_base, snapshot.voters))
        except BaseException as error:
            self.failure = error
            raise
        return None, snapshot.newest, snapshot.older, ()

    def getTransmissionData(self, transmissionID: Any) -> tuple[bytes, bool, bool, int] | None:
        """The next (chunk, is_first, is_last, position) of the snapshot for one follower.

        None if there is none, or no room on the way now: the library goes on at the next heartbeat.
        """
        if not self._has_room(transmissionID.id):
            return None
        image, position = self._outgoing.pop(transmissionID.id, (None, 0))
        if image is None:
            if not self._snapshots.exists():
                return None
            image = memoryview(self._snapshots.image())
        chunk, end = bytes(image[position : position + _CHUNK_BYTES]), position + _CHUNK_BYTES
        is_last = end >= len(image)
        if not is_last:
            self._outgoing[transmissionID.id] = image, end
        return chunk, position == 0, is_last, position

    def setTransmissionData(self, data: tuple[bytes, bool, bool, int] | None) -> bool:
        """Gather chunks from the leader; True once a whole snapshot is in place of ours.

        A chunk that does not follow, since one was lost on the way, ends it; so does an image that
        is not whole. The leader then hears that we still are behind, and begins again.
        """
        if data is None:
            return False
        chunk, is_first, is_last, position = data
        if is_first:
            self._incoming = bytearray()
        if self._incoming is None or position != len(self._incoming):
            self._incoming = None
            return False
        if len(self._incoming) + len(chunk) > SNAPSHOT_BYTES_MAX:
            raise BadMessageError(f"a snapshot over {SNAPSHOT_BYTES_MAX} bytes")
        self._incoming += chunk
        if not is_last:
            return False
        image, self._incoming = bytes(self._incoming), None
        try:
            snapshot = decode_snapshot(image, "the snapshot that a leader sent")
        except StorageDamagedError as error:
            _log.error("ignored: %s", error)
            return False
        if self._is_outdated(snapshot):
            return False
        self._snapshots.install(image)
        return True

    def _is_outdated(self, snapshot: Snapshot) -> bool:
        """G6: whether the log here goes on behind where the snapshot ends.

        A leader sends it twice if this node's first complaint was still on its way. Installed then,
        it would take back entries that this node has acknowledged since, and perhaps applied.
        """
        newest, journal = snapshot.newest, self._journal
        covered = bool(journal.entries) and newest.idx < journal.first_index
        return covered or journal.term_at(newest.idx) == newest.term

    def cancelTransmisstion(self, transmissionID: Any) -> None:
        self.cancel(transmissionID.id)

    def cancel(self, peer: str) -> None:
        """What `peer` was sent so far is lost."""
        self._outgoing.pop(peer, None)

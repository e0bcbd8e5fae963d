"""PySyncObj, tamed: the only file that imports it, and the only one that knows its insides.

It is used as a Raft core and nothing more: no thread, socket, clock, randomness, pickle or file of
its own. Each comes in from outside, through the library's own seams and a few private names. Those
are why the version is pinned, checked at import, and every name covered by a contract test.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol
from zlib import crc32

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated
from pysyncobj import syncobj as library
from pysyncobj.node import Node
from pysyncobj.transport import Transport as LibraryTransport
from pysyncobj.version import VERSION

from chronosdb.raft import codec, guards
from chronosdb.raft.errors import (
    BadMessageError,
    OutcomeUnknownError,
    RaftError,
    RefusedError,
    StorageDamagedError,
)
from chronosdb.raft.facades import JournalFacade, SnapshotFacade
from chronosdb.raft.messages import check
from chronosdb.raft.options import Options
from chronosdb.raft.result import Result
from chronosdb.raft.snapshot import Snapshot
from chronosdb.raft.state import ClusterState
from chronosdb.raft.store import Store
from chronosdb.raft.transport import Message, Transport

PINNED = "0.3.17"
if VERSION != PINNED:
    raise ImportError(f"pysyncobj {VERSION} is installed; chronosdb is audited against {PINNED}")

#: Commands are small and this is far beyond in_flight_max: the library's own queue never fills.
_QUEUE_SIZE = 100_000
#: Steps in one tick: take a command in, commit and apply it, and find that nothing is left.
_STEPS_MAX = 4
_LEADER = 2  # pysyncobj's _RAFT_STATE.LEADER

#: Every reason the library gives for a command without a result, and what it means to its client.
_MEANING: dict[int, tuple[type[RaftError], str]] = {
    FAIL_REASON.QUEUE_FULL: (RefusedError, "too many commands in flight; retry later"),
    FAIL_REASON.MISSING_LEADER: (RefusedError, "no leader at present; retry later"),
    FAIL_REASON.NOT_LEADER: (RefusedError, "this node does not lead; ask the leader"),
    FAIL_REASON.REQUEST_DENIED: (RefusedError, "denied"),
    FAIL_REASON.DISCARDED: (RefusedError, "another leader's command took its place; retry"),
    FAIL_REASON.LEADER_CHANGED: (OutcomeUnknownError, "the leader changed meanwhile"),
    FAIL_REASON.UNKNOWN_OUTCOME: (OutcomeUnknownError, "answered from a snapshot"),
}


class Random(Protocol):
    """The source of election timeouts."""

    def random(self) -> float:
        """A number from 0.0 up to, not including, 1.0."""


class _Voter(Node):  # type: ignore[misc] # the library has no types
    """A node whose hash, and so its place in a set, is the same in every run."""

    def __hash__(self) -> int:
        return crc32(self.id.encode())


class _Link(LibraryTransport):  # type: ignore[misc]
    """The library's transport, handing everything to one function."""

    def __init__(self, send: Callable[[str, Message], bool]) -> None:
        super().__init__(None, None, [])
        self._send = send

    def send(self, node: _Voter, message: Message) -> bool:
        return self._send(node.id, message)


class _Machine(SyncObj):  # type: ignore[misc]
    """The library with exactly one replicated method: ids are dealt by name, and must not move."""

    def __init__(self, state: ClusterState, *args: Any, **kwargs: Any) -> None:
        self._state = state
        super().__init__(*args, **kwargs)

    @replicated  # type: ignore[untyped-decorator]
    def cmd(self, blob: bytes) -> Result:
        return self._state.apply_blob(blob, self.raftLastApplied + 1)


class Core:
    """One Raft participant, moved by `step` and `deliver`. Any exception of theirs is final."""

    def __init__(
        self,
        store: Store,
        state: ClusterState,
        *,
        node_id: str,
        peers: tuple[str, ...],
        transport: Transport,
        clock: Callable[[], float],
        rng: Random,
        options: Options,
        on_demoted: Callable[[], None],
    ) -> None:
        self._journal = store.journal
        self._transport = transport
        self._on_demoted = on_demoted
        self._voters = {peer: _Voter(peer) for peer in peers}
        self._link = _Link(self._send)
        self._snapshots = SnapshotFacade(store.snapshots, state.to_plain, state.restore)
        facade = JournalFacade(store.journal, store.ballot)
        self._globals = {
            "monotonicTime": clock,
            "random": rng,
            "pickle": SimpleNamespace(dumps=codec.dumps, loads=codec.loads),
            "createJournal": lambda _file: facade,
        }
        self._enter()
        self._raft = _Machine(
            state,
            _Voter(node_id),
            list(self._voters.values()),
            self._conf(options),
            nodeClass=_Voter,
            transport=self._link,
        )
        self._set("serializer", self._snapshots)
        if store.recovered is not None:
            _restore(state, store.recovered, store.snapshots.path)
            self._set("raftLastApplied", store.recovered.newest.idx)
        if not peers:
            self._set("raftElectionDeadline", float("-inf"))  # there is nobody to wait for

    @property
    def is_leader(self) -> bool:
        """Whether this participant believes to lead."""
        return bool(self._raft._isLeader())  # noqa: SLF001

    @property
    def leader(self) -> str | None:
        """Whom it believes to lead, if anyone."""
        node = self._raft._getLeader()  # noqa: SLF001
        return None if node is None else node.id

    @property
    def term(self) -> int:
        """The latest term heard of; 0 before the first election."""
        return int(self._raft.raftCurrentTerm)

    @property
    def applied_index(self) -> int:
        """The last entry applied to the state."""
        return int(self._raft.raftLastApplied)

    @property
    def ready(self) -> bool:
        """Applied what the leader had committed, including an entry of the present term.

        The library's own flag alone may rise before a new leader's first entry is committed.
        """
        caught_up = self._raft.isReady() and self.term >= 1
        return bool(caught_up and self._journal.term_at(self.applied_index) == self.term)

    def step(self) -> bool:
        """Do all there is to do now; True if a bound was hit first.

        The library takes a command in at the end of one tick and commits it in the next; so tick
        until nothing moves, and let followers hear at once what the leader took in or committed.
        """
        self._enter()
        for _ in range(_STEPS_MAX):
            before = self._progress()
            self._raft.doTick(0)
            if self._progress() == before:
                return False
            self._set("newAppendEntriesTime", float("-inf"))
        return True

    def propose(self, blob: bytes, callback: Callable[[Result | RaftError], None]) -> None:
        """Queue a command for the next `step`. `callback` must not raise; it may never be called."""
        self._enter()
        self._raft.cmd(blob, callback=lambda result, reason: callback(_outcome(result, reason)))

    def connected(self, peer: str) -> None:
        """Messages to `peer` have a chance to arrive from now on."""
        self._enter()
        self._link._onNodeConnected(self._voter(peer))  # noqa: SLF001

    def disconnected(self, peer: str) -> None:
        """They have none any more."""
        self._enter()
        self._link._onNodeDisconnected(self._voter(peer))  # noqa: SLF001

    def admit(self, peer: str, message: Message) -> None:
        """Raise BadMessageError if a message must not be delivered; nothing has changed then."""
        self._voter(peer)
        check(message)

    def deliver(self, peer: str, message: Message) -> None:
        """Process an admitted message."""
        self._enter()
        guarded = guards.incoming(message, self.term, self._journal)
        if guarded is not None:
            self._link._onMessageReceived(self._voter(peer), guarded)  # noqa: SLF001
        if self._snapshots.failure is not None:
            raise self._snapshots.failure

    def _send(self, peer: str, message: Message) -> bool:
        if message["type"] == "apply_command":
            return False  # G3: only a leader takes commands, and it does not forward them
        self._journal.sync()  # nothing is told that a crash could take back
        commit_index = self._raft.raftCommitIndex
        return self._transport.send(peer, guards.outgoing(message, self.term, commit_index))

    def _voter(self, peer: str) -> _Voter:
        voter = self._voters.get(peer)
        if voter is None:
            raise BadMessageError(f"{peer!r:.80} is no voter of this cluster")
        return voter

    def _progress(self) -> tuple[int, int, int]:
        return self._journal.last_index, self._raft.raftCommitIndex, self.applied_index

    def _set(self, private_name: str, value: object) -> None:
        name = f"_SyncObj__{private_name}"
        assert hasattr(self._raft, name), name
        setattr(self._raft, name, value)

    def _enter(self) -> None:
        # The library reads these as globals. Bound at each entry, not once, several replicas can
        # live in one process, each with its own clock: a simulated cluster does.
        vars(library).update(self._globals)

    def _state_changed(self, old: int, _new: int) -> None:
        if old == _LEADER:
            self._on_demoted()

    def _conf(self, o: Options) -> Any:
        return SyncObjConf(
            autoTick=False,
            dynamicMembershipChange=False,
            raftMinTimeout=o.election_min_s,
            raftMaxTimeout=o.election_max_s,
            connectionTimeout=o.election_max_s,
            appendEntriesPeriod=o.heartbeat_s,
            leaderFallbackTimeout=o.leader_fallback_s,
            appendEntriesUseBatch=True,
            appendEntriesBatchSizeBytes=o.batch_bytes,
            logCompactionMinEntries=o.compact_entries,
            logCompactionMinTime=o.compact_interval_s,
            commandsQueueSize=_QUEUE_SIZE,
            commandsWaitLeader=False,
            onStateChanged=self._state_changed,
        )


def _restore(state: ClusterState, snapshot: Snapshot, path: str) -> None:
    try:
        state.restore(snapshot.state)
    except (ValueError, TypeError) as error:
        raise StorageDamagedError(f"{path}: {error}") from error


def _outcome(result: Result | None, reason: int) -> Result | RaftError:
    if reason == FAIL_REASON.SUCCESS:
        assert result is not None, "a command without a result"
        return result
    error, why = _MEANING[reason]
    return error(why)

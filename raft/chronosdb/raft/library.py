"""PySyncObj, tamed: the only file that imports it, and the only one that knows its insides.

It is used as a Raft core and nothing more: no thread, socket, clock, randomness, pickle or file of
its own. Each comes in from outside, through the library's own seams and a few private names. Those
are why the version is pinned, checked at import, and every name covered by a contract test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from types import SimpleNamespace
from typing import Any, Protocol
from zlib import crc32

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated
from pysyncobj import syncobj as library
from pysyncobj.node import Node
from pysyncobj.transport import Transport as LibraryTransport
from pysyncobj.version import VERSION

from chronosdb.raft import codec
from chronosdb.raft.errors import NotLeadingError, OutcomeUnknownError, RaftError, RefusedError
from chronosdb.raft.facades import JournalFacade, SnapshotFacade
from chronosdb.raft.options import Options
from chronosdb.raft.result import Result
from chronosdb.raft.state import ClusterState
from chronosdb.raft.transport import Message

PINNED = "0.3.17"
if VERSION != PINNED:
    raise ImportError(f"pysyncobj {VERSION} is installed; chronosdb is audited against {PINNED}")

#: Commands are small and this is far beyond in_flight_max: the library's own queue never fills.
_QUEUE_SIZE = 100_000
_LEADER = 2  # pysyncobj's _RAFT_STATE.LEADER

#: Every reason the library gives for a command without a result, and what it means to its client.
_MEANING: dict[int, tuple[type[RaftError], str]] = {
    FAIL_REASON.QUEUE_FULL: (RefusedError, "too many commands in flight; retry later"),
    FAIL_REASON.MISSING_LEADER: (NotLeadingError, "no leader at present; retry later"),
    FAIL_REASON.NOT_LEADER: (NotLeadingError, "this node does not lead; ask the leader"),
    FAIL_REASON.REQUEST_DENIED: (RefusedError, "denied"),
    FAIL_REASON.DISCARDED: (NotLeadingError, "another leader's command took its place; retry"),
    FAIL_REASON.LEADER_CHANGED: (OutcomeUnknownError, "the leader changed meanwhile"),
    FAIL_REASON.UNKNOWN_OUTCOME: (OutcomeUnknownError, "answered from a snapshot"),
}


class Random(Protocol):
    """The source of election timeouts."""

    def random(self) -> float:
        """A number from 0.0 up to, not including, 1.0."""


class _Peer(Node):  # type: ignore[misc] # the library has no types
    """A node whose hash, and so its place in a set, is the same in every run."""

    def __hash__(self) -> int:
        return crc32(self.id.encode())


class _Link(LibraryTransport):  # type: ignore[misc]
    """The library's transport, handing everything to one function."""

    def __init__(self, send: Callable[[str, Message], bool]) -> None:
        super().__init__(None, None, [])
        self._send = send

    def send(self, node: _Peer, message: Message) -> bool:
        return self._send(node.id, message)


class _Machine(SyncObj):  # type: ignore[misc]
    """The library with exactly one replicated method: ids are dealt by name, and must not move."""

    def __init__(self, state: ClusterState, *args: Any, **kwargs: Any) -> None:
        self._state = state
        super().__init__(*args, **kwargs)

    @replicated  # type: ignore[untyped-decorator]
    def cmd(self, blob: bytes) -> Result:
        return self._state.apply_blob(blob, self.raftLastApplied + 1)


class Library:
    """One SyncObj: what it can do, what it knows, and what it is told behind its back."""

    def __init__(
        self,
        state: ClusterState,
        journal: JournalFacade,
        snapshots: SnapshotFacade,
        *,
        node_id: str,
        send: Callable[[str, Message], bool],
        clock: Callable[[], float],
        rng: Random,
        options: Options,
        on_demoted: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._on_demoted = on_demoted
        self._nodes: dict[str, _Peer] = {}
        self._link = _Link(send)
        self._globals = {
            "monotonicTime": clock,
            "random": rng,
            "pickle": SimpleNamespace(dumps=codec.dumps, loads=codec.loads),
            "createJournal": lambda _file: journal,
        }
        self.enter()
        self._raft = _Machine(
            state, _Peer(node_id), [], self._conf(options), nodeClass=_Peer, transport=self._link
        )
        self._set("serializer", snapshots)

    @property
    def is_leader(self) -> bool:
        """Whether it believes to lead."""
        return bool(self._raft._isLeader())  # noqa: SLF001

    @property
    def leader(self) -> str | None:
        """Whom it believes to lead."""
        node = self._raft._getLeader()  # noqa: SLF001
        return None if node is None else node.id

    @property
    def term(self) -> int:
        """The latest term heard of."""
        return int(self._raft.raftCurrentTerm)

    @property
    def commit_index(self) -> int:
        """The last entry known to be committed."""
        return int(self._raft.raftCommitIndex)

    def commit_applied(self) -> None:
        """What was applied is committed; after a snapshot was installed it does not know yet."""
        if self.commit_index < self.applied_index:
            self._set("raftCommitIndex", self.applied_index)

    @property
    def applied_index(self) -> int:
        """The last entry applied."""
        return int(self._raft.raftLastApplied)

    @applied_index.setter
    def applied_index(self, index: int) -> None:
        self._set("raftLastApplied", index)

    @property
    def was_level(self) -> bool:
        """Whether it ever had applied all that a leader had committed. Never falls again."""
        return bool(self._raft.isReady())

    @property
    def election_deadline_s(self) -> float:
        """When it will begin an election, unless it hears of a leader."""
        deadline: float = self._get("raftElectionDeadline")
        return deadline

    @election_deadline_s.setter
    def election_deadline_s(self, deadline_s: float) -> None:
        self._set("raftElectionDeadline", deadline_s)

    @property
    def is_to_take_over(self) -> bool:
        """Whether the leader asked it to begin an election at once."""
        return bool(self._get("transferInProgress"))

    def enter(self) -> None:
        """Bind what the library reads as globals.

        At each entry, not once: so several replicas can live in one process, each with its own
        clock. A simulated cluster does.
        """
        vars(library).update(self._globals)

    def tick(self) -> None:
        """Do what is due."""
        self._raft.doTick(0)

    def speak_soon(self) -> None:
        """If it leads, the next tick tells the followers, heartbeat or not."""
        self._set("newAppendEntriesTime", -inf)

    def propose(self, blob: bytes, callback: Callable[[Result | RaftError], None]) -> None:
        """Queue a command for the next tick."""
        self._raft.cmd(blob, callback=lambda result, reason: callback(_outcome(result, reason)))

    def receive(self, peer: str, message: Message) -> None:
        """Act on a message."""
        self._link._onMessageReceived(self._node(peer), message)  # noqa: SLF001

    def transfer(self, peer: str) -> bool:
        """Ask a voter to take over; False if it cannot."""
        reasons: list[int] = []
        self._raft.transferLeadership(self._node(peer), lambda _, reason: reasons.append(reason))
        return reasons == [FAIL_REASON.SUCCESS]

    def matching(self, peer: str) -> int | None:
        """Up to which entry the log of a tracked peer is known to be ours."""
        index: int | None = self._get("raftMatchIndex").get(self._node(peer))
        return index

    def track(self, others: Iterable[str], connected: Iterable[str]) -> None:
        """From now on `others` vote beside it, and whoever else is connected is sent the log."""
        voters = {self._node(name) for name in others}
        reachable = {self._node(name) for name in connected}
        tracked = voters | reachable
        self._set("otherNodes", voters)
        self._set("readonlyNodes", reachable - voters)
        self._set("connectedNodes", reachable)
        following, matching = self._get("raftNextIndex"), self._get("raftMatchIndex")
        answered = self._get("lastResponseTime")
        for node in tracked - matching.keys():
            following[node] = self._journal[-1].idx + 1
            matching[node] = 0
        for node in tracked - answered.keys():
            answered[node] = self._clock()
        for node in matching.keys() - tracked:
            del following[node], matching[node]
            answered.pop(node, None)

    def _node(self, name: str) -> _Peer:
        return self._nodes.setdefault(name, _Peer(name))

    def _get(self, private_name: str) -> Any:
        return getattr(self._raft, f"_SyncObj__{private_name}")

    def _set(self, private_name: str, value: object) -> None:
        name = f"_SyncObj__{private_name}"
        assert hasattr(self._raft, name), name
        setattr(self._raft, name, value)

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


def _outcome(result: Result | None, reason: int) -> Result | RaftError:
    if reason == FAIL_REASON.SUCCESS:
        assert result is not None, "a command without a result"
        return result
    error, why = _MEANING[reason]
    return error(why)

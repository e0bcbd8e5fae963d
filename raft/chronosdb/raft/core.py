"""One Raft participant: PySyncObj, with everything around it that makes it safe to use.

Elections are held until they can be won (`canvass.py`), messages pass the guards, and who votes is
what the log says (`membership.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from chronosdb.raft import canvass, guards
from chronosdb.raft.canvass import Canvass
from chronosdb.raft.commands import ChangeVoters
from chronosdb.raft.errors import (
    NotLeadingError,
    RaftError,
    RefusedError,
    StorageDamagedError,
)
from chronosdb.raft.facades import JournalFacade, SnapshotFacade
from chronosdb.raft.library import Library, Random
from chronosdb.raft.membership import Membership
from chronosdb.raft.options import Options
from chronosdb.raft.result import Result
from chronosdb.raft.snapshot import Snapshot
from chronosdb.raft.state import ClusterState
from chronosdb.raft.store import Store
from chronosdb.raft.transport import Message, Transport
from chronosdb.raft.voters import Voters

#: Steps in one tick: take a command in, commit and apply it, and find that nothing is left.
_STEPS_MAX = 4
#: A node may lack so many entries when it gets a vote: those are on their way.
_LEVEL_ENTRIES = 64
#: Messages that PySyncObj knows nothing of.
_OURS = frozenset({"pre_vote", "pre_vote_answer", "outdated"})


class Core:
    """One Raft participant, moved by `step` and `deliver`. Any exception of theirs is final."""

    def __init__(
        self,
        store: Store,
        state: ClusterState,
        *,
        node_id: str,
        voters: tuple[str, ...],
        transport: Transport,
        clock: Callable[[], float],
        rng: Random,
        options: Options,
        on_demoted: Callable[[], None],
    ) -> None:
        self._node_id = node_id
        self._journal = store.journal
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._options = options
        self._canvass = Canvass()
        #: When a leader was last heard of. A node that starts waits as if one had been just now.
        self._heard_at = clock()
        #: When silence was last forgiven, since this node itself had been standing still.
        self._resumed_at = -inf
        #: Peers that messages have a chance to reach.
        self._connected: set[str] = set()
        if store.recovered is not None:
            _restore(state, store.recovered, store.snapshots.path)
        base = _base(state, store.recovered, voters)
        self._membership = Membership(base, store.journal.entries)
        #: The voters that the library was told of last.
        self._told: Voters | None = None
        self._snapshots = SnapshotFacade(
            store.snapshots, store.journal, state, self._membership, transport.has_room
        )
        self._library = Library(
            state,
            JournalFacade(store.journal, store.ballot, self._membership),
            self._snapshots,
            node_id=node_id,
            send=self._send,
            clock=clock,
            rng=rng,
            options=options,
            on_demoted=on_demoted,
        )
        if store.recovered is not None:
            self._library.applied_index = store.recovered.newest.idx
        self._follow_voters()
        if self.voters.names == (node_id,):
            self._library.election_deadline_s = -inf  # there is nobody to wait for

    @property
    def voters(self) -> Voters:
        """Who votes, as far as the log here goes."""
        return self._membership.current

    @property
    def votes(self) -> bool:
        """Whether this participant is one of them."""
        return self._node_id in self.voters.names

    @property
    def is_leader(self) -> bool:
        """Whether this participant believes to lead."""
        return self._library.is_leader

    @property
    def leader(self) -> str | None:
        """Whom it believes to lead, if anyone."""
        return self._library.leader

    @property
    def hears_leader(self) -> bool:
        """Whether it leads, or was spoken to by a leader lately; `leader` may long be another.

        Who does not vote holds no elections: it would believe in an old leader for ever.
        """
        return self.is_leader or self._clock() - self._heard_at < self._options.election_max_s

    @property
    def term(self) -> int:
        """The latest term heard of; 0 before the first election."""
        return self._library.term

    @property
    def applied_index(self) -> int:
        """The last entry applied to the state."""
        return self._library.applied_index

    @property
    def ready(self) -> bool:
        """Applied what the leader had committed, including an entry of the present term.

        The library's own flag alone may rise before a new leader's first entry is committed.
        """
        caught_up = self._library.was_level and self.term >= 1
        return bool(caught_up and self._journal.term_at(self.applied_index) == self.term)

    def step(self) -> bool:
        """Do all there is to do now; True if a bound was hit first.

        The library takes a command in at the end of one tick and commits it in the next; so tick
        until nothing moves, and let followers hear at once what the leader took in or committed.
        """
        self._library.enter()
        self._hold_election()
        for _ in range(_STEPS_MAX):
            before = self._progress()
            self._library.tick()
            self._follow_voters()
            if self._progress() == before:
                return False
            self._library.speak_soon()
        return True

    def propose(self, blob: bytes, callback: Callable[[Result | RaftError], None]) -> None:
        """Queue a command for the next `step`. `callback` must not raise; it may never be called."""
        self._library.enter()
        self._library.propose(blob, callback)

    def voters_refusal(self, change: ChangeVoters) -> RefusedError | None:
        """Why a leader must not append this change of voters now; the rule itself is in `voters`."""
        names = set(self.voters.names)
        if self.voters.index == 0 and set(change.voters) != names:
            return RefusedError(f"the first change writes down {', '.join(sorted(names))}")
        if not self.ready or self.voters.index > self.applied_index:
            return NotLeadingError("an earlier change is not committed yet; retry", self.leader)
        if self._node_id not in change.voters:
            return RefusedError(f"{self._node_id} leads; transfer the leadership first")
        for name in sorted(set(change.voters) - names):
            behind = self.behind(name)
            if behind is None or behind > _LEVEL_ENTRIES:
                much = "not connected" if behind is None else f"{behind} entries behind"
                return RefusedError(f"{name} is {much}; it may vote once it is level")
        return None

    def behind(self, peer: str) -> int | None:
        """How many entries a connected peer lacks, as far as this leader knows."""
        matching = self._library.matching(peer)
        if not self.is_leader or matching is None or peer not in self._connected:
            return None
        return self._journal.last_index - matching

    def transfer(self, peer: str) -> RefusedError | None:
        """Ask a voter to take over at once; why that cannot be done, or None."""
        self._library.enter()
        if not self.is_leader:
            return NotLeadingError("this node does not lead", self.leader)
        if self._library.transfer(peer):
            return None
        return RefusedError(f"{peer} is no other voter, or not level; retry when it is")

    def connected(self, peer: str) -> None:
        """Messages to `peer` have a chance to arrive from now on."""
        self._library.enter()
        self._connected.add(peer)
        self._track()

    def disconnected(self, peer: str) -> None:
        """They have none any more."""
        self._library.enter()
        self._connected.discard(peer)
        self._snapshots.cancel(peer)
        self._track()

    def deliver(self, peer: str, message: Message) -> None:
        """Process a message that was checked (`messages.check`)."""
        self._library.enter()
        if message["type"] in _OURS:
            self._deliver_ours(peer, message)
        elif self._is_for_library(peer, message):
            guarded = guards.incoming(message, self.term, self._journal)
            if guarded is not None:
                self._library.receive(peer, guarded)
                self._library.commit_applied()
        self._follow_voters()
        if self._snapshots.failure is not None:
            raise self._snapshots.failure

    def _is_for_library(self, peer: str, message: Message) -> bool:
        """Whether PySyncObj may see it: it does not ask itself who votes, or whom it follows."""
        match message["type"]:
            case "response_vote":
                return peer in self.voters.names
            case "next_node_idx":
                return self._library.matching(peer) is not None
            case "timeout_now":
                return self.votes
            case "append_entries":
                return self._hears_leader(peer, message["term"])
            case _:
                return True

    def _hears_leader(self, peer: str, term: int) -> bool:
        if term < self.term:
            # It would never learn by itself that this node is ahead, nor this node what it commits.
            self._send(peer, {"type": "outdated", "term": self.term})
            return False
        self._heard_at = self._clock()
        self._canvass.end()
        return True

    def _deliver_ours(self, peer: str, message: Message) -> None:
        term = message["term"]
        match message["type"]:
            case "pre_vote":
                lately = self._clock() - self._heard_at < self._options.election_min_s
                heard = self.is_leader or lately
                said = canvass.answer(message, self.term, self._last(), leader_is_heard=heard)
                self._send(peer, said)
            case "pre_vote_answer" if term <= self.term:
                if self._canvass.is_won(peer, message, self.voters.names) and self.votes:
                    self._canvass.end()
                    self._library.election_deadline_s = -inf
            case _:
                self._enter_term(peer, term)

    def _enter_term(self, peer: str, term: int) -> None:
        """Take over a higher term: by a request for a vote that nobody can be given."""
        if term > self.term:
            empty = {"last_log_index": 0, "last_log_term": 0}
            request = {"type": "request_vote", "term": term, **empty}
            self._library.receive(peer, request)

    def resume(self) -> None:
        """Wait for the leader anew, as if it had been heard of just now.

        Not twice in one election timeout: a node whose every tick comes late must elect, too.
        """
        now_s = self._clock()
        alone = self.voters.names == (self._node_id,)
        if self.is_leader or alone or now_s - self._resumed_at < self._options.election_max_s:
            return
        self._resumed_at = self._heard_at = now_s
        self._library.election_deadline_s = now_s + self._election_timeout_s()

    def _hold_election(self) -> None:
        """Ask before an election begins; who does not vote never begins one."""
        if self.is_leader:
            return
        if not self.votes:
            self._library.election_deadline_s = inf
            return
        nobody_to_ask = self.voters.names == (self._node_id,)
        if nobody_to_ask or self._library.is_to_take_over:
            return
        deadline = self._library.election_deadline_s
        if deadline == -inf or deadline >= self._clock():
            return
        self._library.election_deadline_s = self._clock() + self._election_timeout_s()
        question = self._canvass.begin(self._node_id, self.term + 1, self._last())
        for name in self.voters.names:
            if name != self._node_id:
                self._send(name, question)

    def _election_timeout_s(self) -> float:
        low, high = self._options.election_min_s, self._options.election_max_s
        return low + (high - low) * self._rng.random()

    def _last(self) -> tuple[int, int]:
        return self._journal.last_index, self._journal.entries[-1].term

    def _follow_voters(self) -> None:
        if self._told is not self.voters:
            self._told = self.voters
            self._track()

    def _track(self) -> None:
        others = [name for name in self.voters.names if name != self._node_id]
        self._library.track(others, self._connected)

    def _send(self, peer: str, message: Message) -> bool:
        if message["type"] == "apply_command":
            return False  # G3: only a leader takes commands, and it does not forward them
        self._journal.sync()  # nothing is told that a crash could take back
        commit_index = self._library.commit_index
        return self._transport.send(peer, guards.outgoing(message, self.term, commit_index))

    def _progress(self) -> tuple[int, int, int]:
        return self._journal.last_index, self._library.commit_index, self.applied_index


def _restore(state: ClusterState, snapshot: Snapshot, path: str) -> None:
    try:
        state.restore(snapshot.state)
    except (ValueError, TypeError) as error:
        raise StorageDamagedError(f"{path}: {error}") from error


def _base(state: ClusterState, snapshot: Snapshot | None, voters: tuple[str, ...]) -> Voters:
    if snapshot is None:
        return Voters(0, voters)
    return Voters(state.view.voters_base, snapshot.voters)

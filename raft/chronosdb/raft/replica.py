"""The replica: one node's part in the replicated metadata, driven from outside.

The owner calls `tick` about every 50 ms and at once when `wants_tick_soon`; everything happens in
there, on the owner's thread. Disk calls block: a tick that commits costs one fdatasync.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from chronosdb.raft.commands import ChangeVoters, Request
from chronosdb.raft.core import Core
from chronosdb.raft.encoding import encode
from chronosdb.raft.errors import MetadataFailedError, NotLeadingError, RefusedError
from chronosdb.raft.library import Random
from chronosdb.raft.limits import COMMAND_BYTES_MAX
from chronosdb.raft.messages import check
from chronosdb.raft.options import Options
from chronosdb.raft.outcomes import OnResult, Outcomes
from chronosdb.raft.state import ClusterState
from chronosdb.raft.storage import Storage
from chronosdb.raft.store import Store
from chronosdb.raft.transport import Message, NoPeers, Transport
from chronosdb.raft.view import ClusterView


class Replica:
    """Opens or creates the metadata in `directory`, which must exist.

    `clock` gives monotonic seconds; `rng` spreads election timeouts. `peers` are the other voters
    the cluster begins with; what the log says of voters goes before that. A `learner` is not one of
    them: it is sent the log by the leader, and may be given a vote later. The only voter leads from
    its first tick on. Raises StorageDamagedError or OSError if it cannot open.
    """

    def __init__(
        self,
        storage: Storage,
        directory: str,
        *,
        node_id: str,
        clock: Callable[[], float],
        rng: Random,
        peers: Sequence[str] = (),
        learner: bool = False,
        transport: Transport | None = None,
        options: Options | None = None,
    ) -> None:
        assert node_id not in peers, (node_id, peers)
        assert transport is not None or not peers, "peers need a transport"
        assert peers or not learner, "a learner needs someone to learn from"
        self._node_id = node_id
        self._options = options or Options()
        self._state = ClusterState()
        self._outcomes = Outcomes()
        #: Once set, nothing works any more but `close` (I15).
        self._failure: Exception | None = None
        self._closed = False
        self._stirred = True
        self._store = Store.open(storage, directory)
        try:
            self._core = Core(
                self._store,
                self._state,
                node_id=node_id,
                voters=tuple(sorted(peers if learner else (*peers, node_id))),
                transport=transport or NoPeers(),
                clock=clock,
                rng=rng,
                options=self._options,
                on_demoted=self._demoted,
            )
        except BaseException:
            self._store.journal.close()
            raise

    @property
    def view(self) -> ClusterView:
        """What this replica has applied: what is committed, perhaps not yet all of it."""
        return self._state.view

    @property
    def applied_index(self) -> int:
        """The log index up to which the view is complete. Never goes back in one life."""
        return self._core.applied_index

    @property
    def is_leader(self) -> bool:
        """Whether `submit` may work here. Two nodes can think so for a moment; one can commit."""
        return self._core.is_leader

    @property
    def leader(self) -> str | None:
        """The leader last heard of, to redirect to; None if unknown."""
        return self._core.leader

    @property
    def hears_leader(self) -> bool:
        """Whether it leads, or was spoken to by a leader lately. One that starts waits for that first."""
        return self._core.hears_leader

    @property
    def ready(self) -> bool:
        """Whether the view has caught up with a leader since this replica started."""
        return self._core.ready

    @property
    def voters(self) -> tuple[str, ...]:
        """Who votes, as far as the log here goes: perhaps not committed yet."""
        return self._core.voters.names

    @property
    def voters_base(self) -> int:
        """The log entry that made them so: the `base` of the next `ChangeVoters`."""
        return self._core.voters.index

    @property
    def is_alone(self) -> bool:
        """Whether it may sleep until it is asked for something: nobody else votes."""
        return self._core.voters.names == (self._node_id,)

    @property
    def term(self) -> int:
        """The latest term heard of."""
        return self._core.term

    @property
    def wants_tick_soon(self) -> bool:
        """Whether something came in since the last tick, or that tick left work behind."""
        return self._stirred

    def submit(self, request: Request, on_result: OnResult) -> None:
        """Have a request applied; exactly one outcome reaches `on_result`, from within a `tick`.

        A `Result`: it is committed and durable, and this is its answer. `RefusedError`: it was not
        applied and never will be. `OutcomeUnknownError`: retry it under the same request id.
        Raises MetadataFailedError if the replica has stopped.
        """
        self._raise_if_stopped()
        self._stirred = True
        blob = encode(request)
        outcome = self._state.answer_to(request) or self._refusal(request, len(blob))
        if outcome is None:
            self._core.propose(blob, self._outcomes.expect(on_result))
        else:
            self._outcomes.settle_at_once(on_result, outcome)

    def behind(self, peer: str) -> int | None:
        """Log entries that a peer lacks, if this node leads and is connected to it."""
        return self._core.behind(peer)

    def transfer(self, peer: str) -> None:
        """Ask another voter to lead from now on; whether it does shows soon, in `leader`.

        Raises RefusedError if this node does not lead, or that one does not vote or is not level.
        """
        self._raise_if_stopped()
        refusal = self._core.transfer(peer)
        if refusal is not None:
            raise refusal

    def tick(self) -> None:
        """Do all that is to be done now, then tell outcomes.

        Raises MetadataFailedError, now and from then on, if anything went wrong inside: Raft state
        may be half changed, and a second fsync can lie. What `on_result` raises passes through.
        """
        self._raise_if_stopped()
        try:
            self._stirred = self._core.step()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is final
            self._fail(error)
        self._outcomes.tell()

    def resume(self) -> None:
        """The owner could not tick for a while: nobody's silence meanwhile proves anything."""
        self._core.resume()

    def deliver(self, peer: str, message: Message) -> None:
        """Process a message from a peer; tick soon after. Who is one, the transport knows.

        Raises BadMessageError, with nothing changed, if it is no message, and MetadataFailedError
        as `tick` does.
        """
        self._raise_if_stopped()
        check(message)
        self._stirred = True
        try:
            self._core.deliver(peer, message)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is final
            self._fail(error)

    def connected(self, peer: str) -> None:
        """The transport can reach a node of the cluster from now on."""
        self._core.connected(peer)

    def disconnected(self, peer: str) -> None:
        """The transport lost it."""
        self._core.disconnected(peer)

    def close(self) -> None:
        """Release the files. Who still waits hears that the outcome is unknown.

        Writes nothing: what was told of is durable, and a disk that fails here would hide the error
        that the owner is closing for.
        """
        if self._closed:
            return
        self._closed = True
        self._outcomes.settle_all_unknown("the replica was closed")
        self._store.journal.close()
        self._outcomes.tell()

    def _refusal(self, request: Request, size: int) -> RefusedError | None:
        if not self.is_leader:
            why = f"this node does not lead; the leader is {self.leader or 'unknown'}"
            return NotLeadingError(why, self.leader)
        if isinstance(request.command, ChangeVoters):
            refusal = self._core.voters_refusal(request.command)
            if refusal is not None:
                return refusal
        if size > COMMAND_BYTES_MAX:
            return RefusedError(f"a command of {size:,} bytes, over {COMMAND_BYTES_MAX:,}")
        if self._outcomes.waiting >= self._options.in_flight_max:
            return RefusedError(f"{self._options.in_flight_max} commands in flight; retry later")
        return None

    def _demoted(self) -> None:
        self._outcomes.settle_all_unknown("this node lost its leadership meanwhile")

    def _fail(self, error: Exception) -> NoReturn:
        self._failure = error
        self._outcomes.settle_all_unknown("the replica failed meanwhile")
        self._outcomes.tell()
        raise MetadataFailedError(f"metadata stopped: {error}") from error

    def _raise_if_stopped(self) -> None:
        assert not self._closed, "the replica was closed"
        if self._failure is not None:
            raise MetadataFailedError(f"metadata stopped: {self._failure}") from self._failure

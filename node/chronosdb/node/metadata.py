"""The node's side of the metadata replica: ticks it, submits commands, waits for their results.

On any node of a cluster: a command goes to whoever leads, under one request id for all attempts, and
is answered once this node's own view shows what it did.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import trio

from chronosdb.node import faults
from chronosdb.node.clock import Signal
from chronosdb.node.environment import Environment
from chronosdb.node.peers import forwarding
from chronosdb.node.peers.barriers import Barriers
from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.node.peers.charter import Charter
from chronosdb.node.peers.introductions import Introductions
from chronosdb.node.peers.listener import Listeners
from chronosdb.node.peers.peers import Expelled, Peers
from chronosdb.node.peers.raft_channel import RaftChannel
from chronosdb.node.peers.roster import Member, members_of, read_roster, write_roster
from chronosdb.node.reply import Reply
from chronosdb.raft import (
    ChangeVoters,
    ClusterView,
    Command,
    EnrollNode,
    Message,
    Noop,
    NotLeadingError,
    Options,
    Outcome,
    OutcomeUnknownError,
    RaftError,
    RefusedError,
    Replica,
    Request,
    Result,
    decode,
    encode,
)
from chronosdb.wire.errors import ChronosError, Conflict, Overloaded, Timeout

logger = logging.getLogger(__name__)

#: A cluster of one has no heartbeats: ticks serve submissions, and an occasional compaction.
_TICK_ALONE_S: Final = 60.0
_TICK_S: Final = 0.05
#: After the loop stood still for so long, what came in meanwhile is read before anyone is judged.
_STALL_S: Final = 0.2
_CATCH_UP_PASSES: Final = 8
_SUBMIT_TIMEOUT_S: Final = 10.0
#: One attempt at a leader; then another, or the same again.
_ATTEMPT_S: Final = 3.0
_RETRY_MIN_S: Final = 0.02
_RETRY_MAX_S: Final = 0.3
#: Requests from the oldest open one on; the metadata remembers answers to so many, for retries.
_WINDOW: Final = Options().in_flight_max // 2
#: Free disk space below which clients may change nothing: the replica's own writes must not fail.
_SPARE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cluster:
    """What makes a node one of several."""

    charter: Charter
    peers: Peers
    calls: Calls
    #: Where peers connect.
    listeners: Listeners
    options: Options | None = None


class Metadata:
    """Topics, groups and nodes, replicated; this node's view of them."""

    def __init__(
        self, env: Environment, directory: str, node_id: str, cluster: Cluster | None = None
    ) -> None:
        self._env = env
        self._directory = directory
        self._node_id = node_id
        self._cluster = cluster
        #: All other nodes; also those that the view does not show yet, after a restart.
        self._members: dict[str, Member] = {}
        self._replica = self._open(cluster)
        # A new name for each life: sequence numbers start again, and must not look like retries.
        self._client_id = f"{node_id}/{env.random.getrandbits(64):016x}"
        self._seq = 0
        self._wake = Signal()
        #: Raised after each tick: the view may have changed, or the leader.
        self._ticked = trio.Event()
        self._stopped = False
        self._changed = trio.Event()
        #: What `changed` was raised for last: the view, and who led.
        self._shown: tuple[ClusterView, str | None] = (self._replica.view, None)
        self._founding = False
        #: The view that the peers were told of last.
        self._known: ClusterView | None = None
        self._barriers = Barriers(lambda: self.submit(Noop()))
        #: Sequence numbers of requests without an outcome, in order.
        self._unanswered: dict[int, None] = {}
        self._answered = trio.Event()

    def _open(self, cluster: Cluster | None) -> Replica:
        env = self._env
        if cluster is None:
            return Replica(
                env.disk,
                self._directory,
                node_id=self._node_id,
                clock=trio.current_time,
                rng=env.random,
            )
        channel = RaftChannel(cluster.peers, self._deliver)
        first = {name: Member(address) for name, address in cluster.charter.peers.items()}
        self._members = first | read_roster(env.disk, f"{self._directory}/roster")
        cluster.peers.watch(self._peer_up, self._peer_down)
        cluster.calls.serve("submit", self._serve_submit)
        cluster.calls.serve("transfer", self._serve_transfer)
        return Replica(
            env.disk,
            self._directory,
            node_id=self._node_id,
            peers=tuple(cluster.charter.peers),
            learner=cluster.charter.joins,
            transport=channel,
            clock=trio.current_time,
            rng=env.random,
            options=cluster.options,
        )

    @property
    def view(self) -> ClusterView:
        """What is committed, as far as this node knows; immutable."""
        return self._replica.view

    @property
    def changed(self) -> trio.Event:
        """Raised once, when the view or the leader is another. Take it before looking at them."""
        return self._changed

    @property
    def leader(self) -> str | None:
        """The node that leads the metadata, as far as this one knows."""
        return self._replica.leader

    @property
    def is_leader(self) -> bool:
        """Whether this node leads the metadata, or believes so."""
        return self._replica.is_leader

    @property
    def term(self) -> int:
        """The latest term of leaders that this node heard of."""
        return self._replica.term

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive the replica until cancelled; started once this node knows what is committed.

        Raises:
            MetadataFailedError: the disk failed; nothing after that was answered.
            Expelled: the cluster removed this node, or knows its name with another directory.
        """
        if self._cluster is None:
            await self._drive(_TICK_ALONE_S, task_status)
            return
        self._tell_peers()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._cluster.calls.run)
            await nursery.start(self._cluster.peers.run, self._cluster.listeners)
            nursery.start_soon(self._enroll, self._cluster.charter)
            meeting = Introductions(self._cluster.calls, lambda: self._members, self._meet)
            nursery.start_soon(meeting.run, self._is_lost)
            await self._drive(_TICK_S, task_status)

    def _is_lost(self) -> bool:
        """Whether it may not know who leads: one that has no vote goes on believing in the last leader."""
        one = self._replica
        return one.leader is None or not (one.ready and one.hears_leader)

    async def _drive(self, tick_s: float, task_status: trio.TaskStatus[None]) -> None:
        started, last_s = False, trio.current_time()
        try:
            while True:
                if trio.current_time() - last_s > tick_s + _STALL_S:
                    await _let_others_catch_up()
                    self._replica.resume()
                last_s = trio.current_time()
                self._tick()
                if self._replica.ready and not started:
                    started = True
                    task_status.started()
                if self._replica.wants_tick_soon:
                    await trio.lowlevel.checkpoint()
                else:
                    with trio.move_on_after(tick_s):
                        await self._wake.wait()
        finally:
            self._stopped = True
            self._replica.close()

    def _tick(self) -> None:
        self._replica.tick()
        self._ticked.set()
        self._ticked = trio.Event()
        view, leader = self._shown
        if self._replica.view is not view or self._replica.leader != leader:
            self._shown = self._replica.view, self._replica.leader
            self._changed.set()
            self._changed = trio.Event()
        if self._cluster is not None:
            if self._known is not self._replica.view:
                self._tell_peers()
            self._found()
            if self._cluster.peers.expelled is not None:
                raise self._cluster.peers.expelled

    async def change(self, command: Command) -> Result:
        """As `submit`, for what clients ask for: refused while the disk is full."""
        if self._env.disk.free_bytes(self._directory) < _SPARE_BYTES:
            raise Overloaded("no disk space for changes of topics and groups: free some")
        return await self.submit(command)

    async def submit(self, command: Command) -> Result:
        """Have `command` committed, by whichever node leads.

        Raises:
            ChronosError: it was refused, or its outcome is not known in time.
        """
        with trio.move_on_after(_SUBMIT_TIMEOUT_S):
            await self._turn()
            request = self._request(command)
            self._unanswered[request.seq] = None
            try:
                return faults.check(_result(await self._outcome_of(request)))
            finally:
                del self._unanswered[request.seq]
                self._answered.set()
                self._answered = trio.Event()
        raise Timeout(f"the metadata did not answer within {_SUBMIT_TIMEOUT_S} s")

    async def read(self) -> ClusterView:
        """A view that shows everything committed before this was called, on any node.

        Readers share the log entry that this costs.

        Raises:
            ChronosError: no leader was reached in time.
        """
        await self._barriers.pass_one()
        return self.view

    async def change_voters(self, *, add: str = "", remove: str = "") -> Result:
        """Give a node a vote, once it is level, or take one. A leader must be relieved first.

        Raises:
            ChronosError: it is not possible now; the message says why.
        """
        view = await self.read()
        voters = tuple(sorted({*view.voters, add} - {remove, ""}))
        if voters == view.voters:
            return await self.submit(Noop())
        return await self.submit(ChangeVoters(voters, view.voters_base))

    async def transfer(self, to: str) -> None:
        """Have another voter lead the metadata; returns when this node sees it lead.

        Raises:
            ChronosError: it did not come to that.
        """
        with trio.move_on_after(_SUBMIT_TIMEOUT_S):
            while self._replica.leader != to:
                await self._ask_to_transfer(to)
                with trio.move_on_after(_ATTEMPT_S):
                    while self._replica.leader != to:
                        await self._ticked.wait()
            return
        raise Timeout(f"{to} does not lead; it must be a voter that is connected and level")

    async def _ask_to_transfer(self, to: str) -> None:
        leader = self._replica.leader
        if leader == self._node_id:
            await self._serve_transfer("", to.encode())
        elif leader is not None and self._cluster is not None:
            with trio.move_on_after(_ATTEMPT_S):
                try:
                    await self._cluster.calls.ask(leader, "transfer", to.encode())
                except CallFailed as error:
                    logger.debug("transfer: %s", error)
        await trio.sleep(_RETRY_MIN_S)

    async def _turn(self) -> None:
        """Wait while a request is open that is so old that its answer might be forgotten."""
        while self._unanswered and self._seq - next(iter(self._unanswered)) >= _WINDOW:
            await self._answered.wait()

    def _request(self, command: Command) -> Request:
        self._seq += 1
        return Request(self._client_id, self._seq, self._env.clock.now_ms(), command)

    async def _outcome_of(self, request: Request) -> Outcome:
        """Ask until there is an outcome for sure. A cluster of one need not be asked twice."""
        pause_s = _RETRY_MIN_S
        while True:
            outcome = await self._attempt(request)
            unsure = isinstance(outcome, NotLeadingError | OutcomeUnknownError)
            if not unsure or self._cluster is None:
                return outcome
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _RETRY_MAX_S)

    async def _attempt(self, request: Request) -> Outcome:
        leader = self._replica.leader
        if self._cluster is None or self._replica.is_leader:
            return await self._submit_here(request)
        if leader is None:
            return NotLeadingError("no leader is known")
        with trio.move_on_after(_ATTEMPT_S):
            try:
                answer = await self._cluster.calls.ask(leader, "submit", encode(request))
            except CallFailed as error:
                return OutcomeUnknownError(str(error))
            outcome, applied_index = forwarding.unpack(answer)
            if isinstance(outcome, Result):
                while self._replica.applied_index < applied_index:
                    await self._ticked.wait()
            return outcome
        return OutcomeUnknownError(f"leader {leader} did not answer within {_ATTEMPT_S} s")

    async def _submit_here(self, request: Request) -> Outcome:
        if self._stopped:
            return OutcomeUnknownError("the metadata is closed")
        reply = Reply[Outcome]()
        self._replica.submit(request, reply.set)
        self._wake.set()
        return await reply.get()

    async def _serve_submit(self, _peer: str, body: bytes) -> bytes:
        """A follower forwards a command: take it in under our own time."""
        try:
            request = replace(decode(body), ts_ms=self._env.clock.now_ms())
        except RaftError as error:
            return forwarding.pack(RefusedError(str(error)), 0)
        outcome = await self._submit_here(request)
        return forwarding.pack(outcome, self._replica.applied_index)

    async def _serve_transfer(self, _peer: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._stopped:  # and leads no more; who asked will see
            return b""
        try:
            self._replica.transfer(body.decode(errors="replace"))
        except RefusedError as error:
            logger.info("leadership stays here: %s", error)
        self._wake.set()
        return b""

    def _found(self) -> None:
        """The first leader writes down who the voters are: nodes that join later need to know."""
        replica = self._replica
        if self._founding or replica.view.voters or not (replica.is_leader and replica.ready):
            return

        def founded(_: Outcome) -> None:
            self._founding = False

        self._founding = True
        replica.submit(self._request(ChangeVoters(replica.voters, 0)), founded)

    async def _enroll(self, charter: Charter) -> None:
        """Say where this node is, and which directory it has, until the cluster has heard it."""
        while True:
            try:
                await self.submit(EnrollNode(self._node_id, charter.address, charter.birth))
            except Conflict as error:
                raise Expelled(str(error)) from None
            except ChronosError as error:
                logger.info("not enrolled yet: %s", error)
            else:
                return

    def _meet(self, told: Mapping[str, Member]) -> None:
        """Another node knows these: what this one knows itself goes first."""
        new = {name: one for name, one in told.items() if name not in self._members}
        new.pop(self._node_id, None)
        if new:
            logger.info("heard of other nodes: %s", ", ".join(sorted(new)))
            self._tell_peers(new)

    def _tell_peers(self, told: Mapping[str, Member] | None = None) -> None:
        assert self._cluster is not None
        self._known = view = self._replica.view
        members = members_of({**self._members, **(told or {})}, view.nodes)
        me = members.pop(self._node_id, None)
        if me is not None and me.removed:
            raise Expelled(f"node {self._node_id} was removed from the cluster for good")
        if members != self._members:
            write_roster(self._env.disk, f"{self._directory}/roster", members)
            self._members = members
        self._cluster.peers.know(members)

    def _deliver(self, peer: str, message: Message) -> None:
        if not self._stopped:
            self._replica.deliver(peer, message)
            self._wake.set()

    def _peer_up(self, peer: str) -> None:
        self._replica.connected(peer)
        self._wake.set()

    def _peer_down(self, peer: str) -> None:
        self._replica.disconnected(peer)
        self._wake.set()


async def _let_others_catch_up() -> None:
    for _ in range(_CATCH_UP_PASSES):
        await trio.lowlevel.checkpoint()


def _result(outcome: Outcome) -> Result:
    match outcome:
        case Result():
            return outcome
        case RefusedError():
            raise Overloaded(f"the metadata takes no commands now: {outcome}")
        case _:
            raise Timeout(f"whether the metadata took the command is not known: {outcome}")

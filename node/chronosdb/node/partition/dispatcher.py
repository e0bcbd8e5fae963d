"""The dispatcher: the one task that hands a partition's fired events to its groups.

It owns the groups' queues (leases, retries, what is fresh); the committer owns their durable part.
Whenever something may have changed (events fired, credit came, a lease ran out) it is woken, decides,
and sends. Nothing is dropped because nobody was there: what is not sent stays fired and unsettled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from chronosdb.node.clock import Signal
from chronosdb.node.environment import Environment
from chronosdb.node.partition import proposals
from chronosdb.node.partition.committer import Committer
from chronosdb.node.partition.counters import Counters
from chronosdb.node.partition.delivery import deliveries, positions_of
from chronosdb.node.partition.expiry import Sieve
from chronosdb.node.partition.proposals import Outcome, SettleProposal
from chronosdb.node.partition.reader import EventReader
from chronosdb.node.partition.records import RetryRow, Run, SettleReason
from chronosdb.node.partition.state import GroupState, PartitionState
from chronosdb.sched import Failure, GroupQueue, RetryPolicy, RunSet
from chronosdb.wire.errors import ChronosError, LeaseLost, Overloaded
from chronosdb.wire.messages import Deliver

#: Events leased at a time, between two looks at the member's room.
_STEP: Final = 256
#: Events of a group sent or left out in a turn, some milliseconds' work; then others have theirs.
_TURN: Final = 4096
#: Failed deliveries in one RETRY record.
_RETRY_ROWS: Final = 4096


class Member(Protocol):
    """Someone who takes deliveries: a subscription of a connected client."""

    #: Unique on this node, never reused.
    id: int
    #: The client's number for the subscription.
    subscription: int

    def room(self) -> int:
        """How many events may be sent now."""
        ...

    def deliver(self, message: Deliver, count: int) -> None:
        """Send a frame of `count` events."""
        ...


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that used up its attempts."""

    group: str
    #: When the group began: the same position in its next life is another letter.
    since_ms: int
    position: int
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a group is in a partition, now."""

    #: Everything below is settled.
    low: int
    #: The end of what has fired.
    end: int
    #: Fired and not settled.
    lag: int
    leased: int
    #: Failed, and waiting for the next attempt.
    retrying: int
    since_ms: int


@dataclass(slots=True)
class _Group:
    name: str
    #: Invariant: what `queue` was made from; a group that begins again gets new ones of both.
    saved: GroupState
    queue: GroupQueue
    #: Who may be sent to. In an ordered group that is one member at most.
    members: list[Member] = field(default_factory=list)
    #: Settlements on their way to the log; others of the reason may join while one is open.
    settling: dict[SettleReason, SettleProposal] = field(default_factory=dict)
    turn: int = 0

    def next_member(self) -> Member | None:
        """A member with room, each in turn."""
        for _ in range(len(self.members)):
            self.turn = (self.turn + 1) % len(self.members)
            if self.members[self.turn].room() > 0:
                return self.members[self.turn]
        return None


class Dispatcher:
    """Hands out one partition's events."""

    def __init__(
        self,
        env: Environment,
        partition: int,
        *,
        state: PartitionState,
        reader: EventReader,
        committer: Committer,
        counters: Counters,
        on_dead_letters: Callable[[Sequence[DeadLetter]], None],
    ) -> None:
        self._env = env
        self._partition = partition
        self._state = state
        self._reader = reader
        self._committer = committer
        self._counters = counters
        self._on_dead_letters = on_dead_letters
        self._groups: dict[str, _Group] = {}
        #: As they were at the start: members may hold what these groups were sent before it.
        self._recovered = dict(state.groups)
        self._wake = Signal()
        self._stopping = False
        #: Send nothing for now: another node may be serving these groups already.
        self._quiet = False

    def stop(self) -> None:
        """Send nothing more, and let `run` return. Leases need no end: a restart forgets them."""
        self._stopping = True
        self.wake()

    def hush(self, quiet: bool) -> None:
        """Send nothing while `quiet`; what is leased stays so."""
        self._quiet = quiet
        self.wake()

    def wake(self) -> None:
        """Something may be deliverable that was not."""
        self._wake.set()

    def open_group(self, name: str, policy: RetryPolicy) -> None:
        """Begin to serve a group that has a GROUP record; the policy may change later."""
        group = self._groups.get(name)
        if group is None:
            saved = self._state.groups[name]
            queue = GroupQueue(policy, saved.cursor, saved.retries)
            self._groups[name] = _Group(name, saved, queue)
        else:
            group.queue.policy = policy

    def renew_group(self, name: str) -> None:
        """A group has begun again: its leases and retries are forgotten, its members stay."""
        old = self._groups.pop(name, None)
        if old is not None:
            self.open_group(name, old.queue.policy)
            self.set_members(name, old.members)

    def close_group(self, name: str) -> None:
        """A group without members has ended."""
        group = self._groups.pop(name, None)
        assert group is None or not group.members

    def progress(self, name: str) -> Progress | None:
        """How far a group is; None when it has not begun here."""
        saved = self._state.groups.get(name)
        if saved is None:
            return None
        end = self._committer.end_position
        group = self._groups.get(name)
        leased, retries = (
            (0, saved.retries) if group is None else (group.queue.leased, group.queue.retries)
        )
        cursor = saved.cursor
        return Progress(cursor.low, end, cursor.lag(end), leased, len(retries), saved.since_ms)

    def in_flight(self, name: str, member: Member) -> int:
        """How many deliveries a member holds here."""
        group = self._groups.get(name)
        return 0 if group is None else group.queue.in_flight(member.id)

    def set_members(self, name: str, members: Sequence[Member]) -> None:
        """Who takes this group's deliveries from now on. What others hold stays leased to them."""
        self._open(name).members = list(members)
        self.wake()

    def release(self, name: str, member: Member) -> None:
        """A member is gone: what it held goes to others at once."""
        group = self._groups.get(name)
        if group is not None:
            group.queue.release(member.id, self._env.clock.now_ms())
            self.wake()

    def ack(self, name: str, runs: Iterable[Run], outcome: Outcome) -> None:
        """Settle positions; `outcome` is told when that is durable. Acking twice is acking once.

        What a group was sent before it began again does not count.

        Raises:
            Overloaded: the group is not served here yet.
        """
        group = self._open(name)
        recovered = self._recovered.get(name) is group.saved
        end = self._committer.end_position if recovered else 0
        self._settle(name, self._acked(group, runs, end), SettleReason.ACKED, outcome)

    def purge(self, name: str, runs: Iterable[Run], reason: SettleReason, outcome: Outcome) -> None:
        """Settle positions whether or not anybody was sent them; raises as `ack`."""
        end = self._committer.end_position
        self._settle(name, self._acked(self._open(name), runs, end), reason, outcome)

    def dead_lettered(self, letter: DeadLetter, outcome: Outcome) -> None:
        """The event is in the dead-letter topic: settle it here, unless the group has begun again."""
        group = self._groups.get(letter.group)
        alive = group is not None and group.saved.since_ms == letter.since_ms
        runs = [(letter.position, letter.position + 1)] if alive else []
        if runs:
            self._settle(letter.group, runs, SettleReason.DEAD_LETTERED, outcome)
        else:
            outcome(None)

    def nack(
        self,
        name: str,
        member: Member,
        position: int,
        attempt: int,
        *,
        delay_ms: int | None,
        reason: str,
        outcome: Outcome,
    ) -> None:
        """Give a delivery back.

        Raises:
            LeaseLost: it is no longer this member's.
            Overloaded: as `ack`.
        """
        failures = self._open(name).queue.fail(
            position,
            position + 1,
            member.id,
            attempt,
            now_ms=self._env.clock.now_ms(),
            unit=self._env.random.random(),
            delay_ms=delay_ms,
        )
        if not failures:
            raise _lease_lost(position, attempt)
        self._failed(name, failures, reason or "nack", outcome)

    def extend(
        self, name: str, member: Member, position: int, attempt: int, extend_ms: int
    ) -> None:
        """Give a member more time.

        Raises:
            LeaseLost: it is no longer this member's, or the partition is not: whoever has it now
                need not wait longer than for what was leased already.
            Overloaded: as `ack`.
        """
        deadline_ms = self._env.clock.now_ms() + extend_ms
        group = self._open(name)
        if member not in group.members:
            raise LeaseLost(f"partition {self._partition} has moved to another member of {name!r}")
        if not group.queue.extend(position, position + 1, member.id, attempt, deadline_ms):
            raise _lease_lost(position, attempt)
        self.wake()

    async def run(self) -> None:
        """Deliver until stopped."""
        while True:
            # While nothing may be sent, what is due since long must not wake it again and again.
            due_ms = None if self._quiet else self._next_event_ms()
            await self._env.clock.wait(self._wake, due_ms)
            if self._stopping:
                return
            if self._quiet:
                continue
            now_ms = self._env.clock.now_ms()
            for group in self._groups.values():
                failures = group.queue.expire(now_ms, self._env.random.random())
                self._failed(group.name, failures, "ack timeout", _ignore)
                self._deliver(group, now_ms)

    def _open(self, name: str) -> _Group:
        group = self._groups.get(name)
        if group is None:  # A new leader opens a group when it hears of a member.
            raise Overloaded(f"group {name!r} is not served here yet; try again")
        return group

    def _next_event_ms(self) -> int | None:
        times = (group.queue.next_event_ms() for group in self._groups.values())
        return min((t for t in times if t is not None), default=None)

    def _deliver(self, group: _Group, now_ms: int) -> None:
        """Send what there is and the members have room for, or as much of it as a turn allows."""
        end = self._committer.end_position
        # A clock that was set back must not make a delivery look early (I3), or expired events live.
        sent_ms = max(now_ms, self._committer.last_ts_ms)
        taken = 0
        while group.queue.has_work(end, now_ms):
            member = group.next_member()
            if member is None:
                return
            if taken >= _TURN:
                self.wake()
                return
            sieve = Sieve(sent_ms)
            grants = group.queue.take(member.id, min(_STEP, member.room()), end, now_ms)
            taken += sum(grant.stop - grant.start for grant in grants)
            frames = deliveries(
                self._reader,
                grants,
                subscription=member.subscription,
                partition=self._partition,
                sent_ms=sent_ms,
                sieve=sieve,
            )
            for frame, due_ms in frames:
                member.deliver(frame, len(due_ms))
                self._counters.sent(frame, due_ms)
            if sieve.left_out:
                self._expired(group, positions_of(grants)[sieve.left_out].tolist())

    def _expired(self, group: _Group, positions: Iterable[int]) -> None:
        """Settle what nobody is sent any more; it was leased, and cost no credit."""
        runs = self._acked(group, RunSet((p, p + 1) for p in positions), 0)
        self._settle(group.name, runs, SettleReason.EXPIRED, _ignore)

    def _acked(self, group: _Group, runs: Iterable[Run], end: int) -> list[Run]:
        """Note in the queue that `runs` are done with; those of them for which that is new."""
        fired = self._committer.end_position
        known = [(start, min(stop, fired)) for start, stop in runs if start < fired]
        return [new for start, stop in known for new in group.queue.ack(start, stop, end)]

    def _settle(
        self, name: str, runs: Sequence[Run], reason: SettleReason, outcome: Outcome
    ) -> None:
        group = self._groups[name]

        def settled(error: ChronosError | None) -> None:
            if error is None:
                for start, stop in runs:
                    group.queue.commit(start, stop)
            outcome(error)

        proposal = group.settling.get(reason)
        if proposal is None or not proposal.open:
            proposal = SettleProposal(name, group.saved, reason)
            self._committer.submit(proposal)
            group.settling[reason] = proposal
        proposal.add(runs, settled)

    def _failed(
        self, name: str, failures: Sequence[Failure], reason: str, outcome: Outcome
    ) -> None:
        """Log the attempts; hand over what has none left."""
        saved = self._groups[name].saved
        rows = [
            RetryRow(f.position, f.attempt + 1, f.due_ms) for f in failures if f.due_ms is not None
        ]
        dead = [
            DeadLetter(name, saved.since_ms, f.position, f.attempt, reason)
            for f in failures
            if f.due_ms is None
        ]
        for first in range(0, len(rows), _RETRY_ROWS):
            last = first + _RETRY_ROWS >= len(rows)
            proposal = proposals.retry(
                name, saved, rows[first : first + _RETRY_ROWS], outcome if last else _ignore
            )
            self._committer.submit(proposal)
        if dead:
            self._on_dead_letters(dead)
            outcome(None)
        if failures:
            self.wake()


def _ignore(_: ChronosError | None) -> None:
    """Nobody waits for this outcome."""


def _lease_lost(position: int, attempt: int) -> LeaseLost:
    return LeaseLost(
        f"attempt {attempt} of position {position} is not yours any more: its ack timeout passed"
        " or it was settled; an ack would still count"
    )

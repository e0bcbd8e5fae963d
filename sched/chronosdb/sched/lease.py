"""Deliveries in flight: who holds which positions, on which attempt, until when.

A lease covers a run of positions, so a batch of 500 is one entry until its events part ways.
Deadlines are found without looking at every lease: each distinct deadline remembers the runs it
was ever given to and how many positions still have it. Settling a position only lowers that
count; the runs are looked at once, when the deadline passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

from chronosdb.sched.heap import LazyHeap
from chronosdb.sched.runs import RunMap

if TYPE_CHECKING:
    from chronosdb.sched.runs import Run


@dataclass(frozen=True, slots=True)
class Lease:
    """One delivery: `member` has until `deadline_ms` to settle `attempt`."""

    member: int
    attempt: int
    deadline_ms: int


Piece: TypeAlias = tuple[int, int, Lease]


class _Deadline:
    """The positions that share a deadline."""

    __slots__ = ("positions", "runs")

    def __init__(self) -> None:
        # Invariant: how many positions are leased until this deadline; at 0 it is dropped.
        self.positions = 0
        # Invariant: covers all of those, and maybe others.
        self.runs: list[Run] = []


class LeaseTable:
    """The leases of one group in one partition; at most one per position."""

    __slots__ = ("_deadlines", "_earliest", "_in_flight", "_leases")

    def __init__(self) -> None:
        # Invariant: runs are disjoint: no position ever has two holders.
        self._leases: RunMap[Lease] = RunMap()
        # Invariant: positions held by each member, no zeros.
        self._in_flight: dict[int, int] = {}
        # Invariant: one entry for every deadline of a lease; `_earliest` holds the same ones.
        self._deadlines: dict[int, _Deadline] = {}
        self._earliest: LazyHeap[int] = LazyHeap()

    def __len__(self) -> int:
        """How many positions are leased."""
        return sum(self._in_flight.values())

    def grant(self, start: int, stop: int, lease: Lease) -> None:
        """Lease `[start, stop)`, of which nothing may be leased now."""
        self._leases.put(start, stop, lease)
        self._in_flight[lease.member] = self.in_flight(lease.member) + stop - start
        deadline = self._deadlines.get(lease.deadline_ms)
        if deadline is None:
            deadline = self._deadlines[lease.deadline_ms] = _Deadline()
            self._earliest.add(lease.deadline_ms)
        deadline.positions += stop - start
        deadline.runs.append((start, stop))

    def settle(self, start: int, stop: int) -> list[Piece]:
        """End every lease within `[start, stop)`, whoever holds it; return what ended."""
        ended = self._leases.cut(start, stop)
        for piece in ended:
            self._uncount(*piece)
        return ended

    def reclaim(self, start: int, stop: int, member: int, attempt: int) -> list[Run]:
        """End the leases within `[start, stop)` that are of this member and attempt."""
        return [self._end(piece) for piece in self._held(start, stop, member, attempt)]

    def release(self, member: int) -> list[Piece]:
        """End every lease of a member that left; looks at all leases."""
        if not self.in_flight(member):
            return []
        ended = [piece for piece in self._leases if piece[2].member == member]
        for piece in ended:
            self._end(piece)
        return ended

    def expired(self, now_ms: int) -> list[Piece]:
        """End every lease whose deadline is at or before `now_ms`."""
        ended: list[Piece] = []
        while (deadline_ms := self._earliest.min()) is not None and deadline_ms <= now_ms:
            for run in self._deadlines[deadline_ms].runs:
                for piece in self._leases.overlaps(*run):
                    if piece[2].deadline_ms == deadline_ms:
                        self._end(piece)
                        ended.append(piece)
            assert deadline_ms not in self._deadlines
        return sorted(ended, key=itemgetter(0))

    def extend(self, start: int, stop: int, member: int, attempt: int, deadline_ms: int) -> int:
        """Give this member's attempt until `deadline_ms`, if that is later than what it has.

        Returns:
            How many positions within `[start, stop)` the member still holds on that attempt;
            0 means that it lost the lease.
        """
        held = self._held(start, stop, member, attempt)
        for piece in held:
            if piece[2].deadline_ms < deadline_ms:
                self.grant(*self._end(piece), Lease(member, attempt, deadline_ms))
        return sum(piece[1] - piece[0] for piece in held)

    def holder(self, position: int) -> Lease | None:
        """The lease on `position`."""
        return self._leases.get(position)

    def next_deadline_ms(self) -> int | None:
        """The earliest deadline of all leases."""
        return self._earliest.min()

    def in_flight(self, member: int) -> int:
        """How many positions `member` holds."""
        return self._in_flight.get(member, 0)

    def _held(self, start: int, stop: int, member: int, attempt: int) -> list[Piece]:
        return [
            piece
            for piece in self._leases.overlaps(start, stop)
            if piece[2].member == member and piece[2].attempt == attempt
        ]

    def _end(self, piece: Piece) -> Run:
        start, stop, _ = piece
        self._leases.cut(start, stop)
        self._uncount(*piece)
        return start, stop

    def _uncount(self, start: int, stop: int, lease: Lease) -> None:
        left = self._in_flight[lease.member] - (stop - start)
        if left:
            self._in_flight[lease.member] = left
        else:
            del self._in_flight[lease.member]
        deadline = self._deadlines[lease.deadline_ms]
        deadline.positions -= stop - start
        if not deadline.positions:
            del self._deadlines[lease.deadline_ms]
            self._earliest.discard(lease.deadline_ms)
